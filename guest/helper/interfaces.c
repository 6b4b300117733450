/* The identity of network interfaces: MAC address by ioctl, IPv4 and IPv6 addresses by rtnetlink. */
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include "helper.h"

#define ADDRESSES_CAP 16

/* Opened once, before the freeze: a clone then saves the cold code of opening them. */
static int control = -1; /* an AF_INET socket: the kernel's handle for interface ioctls */
static int routes = -1;  /* rtnetlink(7): addresses, IPv6 ones with flags, and all of an interface's */

void open_network(void) {
    control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    routes = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
}

static int named_interface(struct ifreq *ifr, const char *name) {
    memset(ifr, 0, sizeof *ifr);
    if (!*name || strlen(name) >= IFNAMSIZ) return errno = EINVAL, -1;
    strcpy(ifr->ifr_name, name);
    return 0;
}

/* mac=IFNAME,aa:bb:cc:dd:ee:ff, or mac=IFNAME to read it only. An equal one is not set again: that notifies the world. */
int op_mac(char *value) {
    struct ifreq ifr;
    unsigned char *mac = (unsigned char *)ifr.ifr_hwaddr.sa_data, wanted[6];
    if (named_interface(&ifr, field(&value))) return -1;
    if (value && hex_bytes(value, wanted, sizeof wanted, ':')) return errno = EINVAL, -1;
    if (ioctl(control, SIOCGIFHWADDR, &ifr)) return -1;
    if (value && memcmp(mac, wanted, sizeof wanted)) {
        ifr.ifr_hwaddr.sa_family = ARPHRD_ETHER;
        memcpy(mac, wanted, sizeof wanted);
        if (ioctl(control, SIOCSIFHWADDR, &ifr) || ioctl(control, SIOCGIFHWADDR, &ifr)) return -1;
    }
    say_result("mac", ifr.ifr_name);
    for (int i = 0; i < 6; i++) {
        if (i > 0) say_char(':');
        say_hex(mac + i, 1);
    }
    return 0;
}

/* An address of an interface, of either family. */
struct address {
    unsigned char bytes[16];
    int prefix, flags;
};

struct address_request {
    struct nlmsghdr header;
    struct ifaddrmsg message;
    char attributes[64];
};

static void attribute(struct address_request *ask, unsigned short type, const void *data, size_t length) {
    struct rtattr *at = (struct rtattr *)((char *)ask + NLMSG_ALIGN(ask->header.nlmsg_len));
    at->rta_type = type;
    at->rta_len = (unsigned short)RTA_LENGTH(length);
    memcpy(RTA_DATA(at), data, length);
    ask->header.nlmsg_len = NLMSG_ALIGN(ask->header.nlmsg_len) + RTA_LENGTH(length);
}

static size_t address_length(int family) {
    return family == AF_INET ? 4 : 16;
}

/* RFC 4291 section 2.5.6; anything else counts as global. */
static int is_link_local(const unsigned char *bytes) {
    return bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80;
}

/*
 * Adds (RTM_NEWADDR) or removes (RTM_DELADDR) one address. No acknowledgement is asked for: rtnetlink works within
 * send(), so that an error is there to be received when it returns, and success is silence. Source: rtnetlink(7).
 */
static int change_address(int type, int family, int interface, const struct address *address) {
    char reply[512];
    size_t length = address_length(family);
    struct address_request ask = {
        .header = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct ifaddrmsg)), .nlmsg_type = (unsigned short)type,
                   .nlmsg_flags = NLM_F_REQUEST | (type == RTM_NEWADDR ? NLM_F_CREATE | NLM_F_EXCL : 0)},
        .message = {.ifa_family = (unsigned char)family, .ifa_prefixlen = (unsigned char)address->prefix,
                    .ifa_index = (unsigned)interface},
    };
    attribute(&ask, IFA_LOCAL, address->bytes, length);
    if (type == RTM_NEWADDR && family == AF_INET) {
        unsigned char broadcast[4];
        for (int i = 0; i < 4; i++) {
            int host_bits = 8 * (i + 1) - address->prefix;
            int host_mask = host_bits <= 0 ? 0 : host_bits >= 8 ? 255 : (1 << host_bits) - 1;
            broadcast[i] = (unsigned char)(address->bytes[i] | host_mask);
        }
        attribute(&ask, IFA_ADDRESS, address->bytes, length);
        if (address->prefix < 31) attribute(&ask, IFA_BROADCAST, broadcast, length);
    }
    /* The host gives out each address once, and waits for nothing: no duplicate address detection (RFC 4862, 5.4). */
    if (family == AF_INET6) ask.message.ifa_flags = IFA_F_NODAD;
    if (send(routes, &ask, ask.header.nlmsg_len, 0) < 0) return -1;
    ssize_t n = recv(routes, reply, sizeof reply, MSG_DONTWAIT);
    if (n < 0) return errno == EAGAIN ? 0 : -1;
    struct nlmsghdr *header = (struct nlmsghdr *)reply;
    if (n < (ssize_t)NLMSG_LENGTH(sizeof(struct nlmsgerr)) || header->nlmsg_type != NLMSG_ERROR) return errno = EPROTO, -1;
    int error = ((struct nlmsgerr *)NLMSG_DATA(header))->error;
    return error ? (errno = -error, -1) : 0;
}

/* The interface's addresses of a family, and of one scope of IPv6. Returns their number, or -1. */
static int addresses_of(int family, int interface, int link_local, struct address *found) {
    static char reply[4096];
    struct address_request ask = {
        .header = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct ifaddrmsg)), .nlmsg_type = RTM_GETADDR,
                   .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
        .message = {.ifa_family = (unsigned char)family},
    };
    int count = 0;
    if (send(routes, &ask, ask.header.nlmsg_len, 0) < 0) return -1;
    for (;;) {
        ssize_t n = recv(routes, reply, sizeof reply, 0);
        if (n < 0) return -1;
        unsigned left = (unsigned)n;
        for (struct nlmsghdr *header = (struct nlmsghdr *)reply; NLMSG_OK(header, left); header = NLMSG_NEXT(header, left)) {
            if (header->nlmsg_type == NLMSG_DONE) return count;
            if (header->nlmsg_type == NLMSG_ERROR) return errno = EPROTO, -1;
            struct ifaddrmsg *message = NLMSG_DATA(header);
            if (header->nlmsg_type != RTM_NEWADDR || (int)message->ifa_index != interface) continue;
            if (message->ifa_family != family) continue; /* what a kernel without IPv6 answers */
            struct address address = {.prefix = message->ifa_prefixlen, .flags = message->ifa_flags};
            unsigned attributes = IFA_PAYLOAD(header);
            for (struct rtattr *at = IFA_RTA(message); RTA_OK(at, attributes); at = RTA_NEXT(at, attributes))
                if (at->rta_type == IFA_LOCAL || (at->rta_type == IFA_ADDRESS && family == AF_INET6))
                    memcpy(address.bytes, RTA_DATA(at), address_length(family));
            if (family == AF_INET6 && is_link_local(address.bytes) != link_local) continue;
            if (count < ADDRESSES_CAP) found[count++] = address;
        }
    }
}

static int same_address(int family, const struct address *one, const struct address *other) {
    return one->prefix == other->prefix && !memcmp(one->bytes, other->bytes, address_length(family));
}

/* IPv4 as four decimal numbers, IPv6 as 32 hexadecimal digits: what a plain loop can read and write. */
static int parse_address(int family, char *text, struct address *address) {
    if (family == AF_INET6) return hex_bytes(text, address->bytes, 16, 0);
    for (int i = 0; i < 4; i++) {
        long long part = number(&text, 10);
        if (part < 0 || part > 255 || *text != (i < 3 ? '.' : 0)) return -1;
        address->bytes[i] = (unsigned char)part;
        text++;
    }
    return 0;
}

static void say_address(int family, const struct address *address) {
    if (family == AF_INET6) say_hex(address->bytes, 16);
    for (int i = 0; family == AF_INET && i < 4; i++) {
        if (i > 0) say_char('.');
        say_number(address->bytes[i]);
    }
    say_char(',');
    say_number((unsigned)address->prefix);
}

/* Makes `wanted` the interface's only address of its family and scope; one that is there already stays as it is. */
static int replace_addresses(int family, int interface, const struct address *wanted) {
    struct address found[ADDRESSES_CAP];
    int there = 0, count = addresses_of(family, interface, is_link_local(wanted->bytes), found);
    if (count < 0) return -1;
    for (int i = 0; i < count; i++) {
        /* One that duplicate address detection has not let pass, or refused, is of no use. */
        int usable = !(family == AF_INET6 && found[i].flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED));
        if (usable && same_address(family, &found[i], wanted)) there = 1;
        /* Removing a primary IPv4 address takes its secondary ones along: they are gone then, which is as good. */
        else if (change_address(RTM_DELADDR, family, interface, &found[i]) && errno != EADDRNOTAVAIL) return -1;
    }
    return there ? 0 : change_address(RTM_NEWADDR, family, interface, wanted);
}

static int remove_addresses(int family, int interface, int link_local) {
    struct address found[ADDRESSES_CAP];
    int count = addresses_of(family, interface, link_local, found);
    for (int i = 0; i < count; i++)
        if (change_address(RTM_DELADDR, family, interface, &found[i]) && errno != EADDRNOTAVAIL) return -1;
    return count < 0 ? -1 : 0;
}

static int interface_up(struct ifreq *ifr) {
    if (ioctl(control, SIOCGIFFLAGS, ifr)) return -1;
    if (ifr->ifr_flags & IFF_UP) return 0;
    ifr->ifr_flags |= IFF_UP;
    return ioctl(control, SIOCSIFFLAGS, ifr);
}

/* IFNAME,ADDRESS,PREFIX sets, and the interface up; IFNAME and for IPv6 IFNAME,link or IFNAME,global reads only. */
static int op_address(const char *operation, int family, char *value) {
    struct ifreq ifr;
    struct address wanted = {0}, found[ADDRESSES_CAP];
    if (named_interface(&ifr, field(&value)) || ioctl(control, SIOCGIFINDEX, &ifr)) return -1;
    int interface = ifr.ifr_ifindex, link_local = 0;
    if (value && !strcmp(value, "none")) {
        if (remove_addresses(family, interface, 0)) return -1;
        if (family == AF_INET6 && remove_addresses(family, interface, 1)) return -1;
    } else if (family == AF_INET6 && value && !strcmp(value, "link")) link_local = 1;
    else if (family == AF_INET6 ? value && strcmp(value, "global") : value != NULL) {
        if (parse_address(family, field(&value), &wanted) || !value) return errno = EINVAL, -1;
        long long prefix = number(&value, 10);
        if (prefix < 1 || prefix > (int)(8 * address_length(family)) || *value) return errno = EINVAL, -1;
        wanted.prefix = (int)prefix;
        link_local = family == AF_INET6 && is_link_local(wanted.bytes);
        if (replace_addresses(family, interface, &wanted) || interface_up(&ifr)) return -1;
    } else if (family == AF_INET6 && !value) return errno = EINVAL, -1;
    int count = addresses_of(family, interface, link_local, found);
    if (count < 0) return -1;
    say_result(operation, NULL);
    say(ifr.ifr_name);
    for (int i = 0; i < count; i++) {
        say_char(i > 0 ? ';' : ',');
        say_address(family, &found[i]);
    }
    return 0;
}

int op_ipv4(char *value) {
    return op_address("ipv4", AF_INET, value);
}

int op_ipv6(char *value) {
    return op_address("ipv6", AF_INET6, value);
}
