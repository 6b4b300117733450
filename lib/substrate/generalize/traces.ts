/** What a machine keeps of its own life, and no substrate may. */
export interface Trace {
  readonly name: string;
  /** What would happen if clones had it. */
  readonly why: string;
  /** `*` matches anything, also across folders. */
  readonly paths: readonly string[];
  /** Files whose service has them open stay, and lose their content. */
  readonly how: "remove" | "empty";
}

/** Of whatever guest: what is not there costs nothing. A new one is one entry. */
export const TRACES: readonly Trace[] = [
  {
    name: "ssh host keys",
    why: "every clone could play every other one",
    paths: ["/etc/ssh/ssh_host_*", "/etc/dropbear/dropbear_*_host_key"],
    how: "remove",
  },
  {
    name: "dhcp leases",
    why: "clones would ask for one address",
    paths: [
      "/var/lib/dhcp/*",
      "/var/lib/dhcpcd/*",
      "/var/lib/NetworkManager/*lease*",
      "/var/lib/NetworkManager/secret_key",
      "/run/systemd/netif/leases/*",
    ],
    how: "remove",
  },
  {
    name: "random seeds",
    why: "clones would start their generators alike",
    paths: ["/var/lib/systemd/random-seed", "/var/lib/urandom/random-seed", "/var/lib/random-seed"],
    how: "remove",
  },
  { name: "logs", why: "they tell of another machine", paths: ["/var/log/*"], how: "empty" },
  {
    name: "journal",
    why: "it is named by the build's machine-id",
    paths: ["/var/log/journal/*", "/run/log/journal/*"],
    how: "remove",
  },
  {
    name: "shell history",
    why: "what was typed while it was built",
    paths: ["/root/.*_history", "/home/*/.*_history", "/root/.lesshst", "/root/.viminfo"],
    how: "remove",
  },
  {
    name: "cloud-init's instance",
    why: "cloud-init would take a clone for the machine that was built",
    paths: ["/var/lib/cloud/*", "/run/cloud-init/*"],
    how: "remove",
  },
  {
    name: "apt caches",
    why: "they only take room",
    paths: ["/var/lib/apt/lists/*", "/var/cache/apt/archives/*.deb", "/var/cache/apt/*.bin"],
    how: "remove",
  },
  {
    name: "authorized keys",
    why: "who built it could log in to every clone",
    paths: ["/root/.ssh/authorized_keys*", "/home/*/.ssh/authorized_keys*"],
    how: "remove",
  },
  {
    name: "ssh client's state",
    why: "keys and hosts of who built it",
    paths: ["/root/.ssh/id_*", "/root/.ssh/known_hosts*", "/home/*/.ssh/id_*", "/home/*/.ssh/known_hosts*"],
    how: "remove",
  },
  {
    name: "udev's network names",
    why: "they are tied to the build's MAC address",
    paths: ["/etc/udev/rules.d/70-persistent-net.rules", "/etc/udev/rules.d/75-persistent-net-generator.rules"],
    how: "remove",
  },
  {
    name: "crashes and leftovers",
    why: "memory of programs that are gone",
    paths: ["/var/crash/*", "/var/lib/systemd/coredump/*", "/var/tmp/*"],
    how: "remove",
  },
];

/** In use by services that run. */
export const ALWAYS_KEPT: readonly string[] = ["/var/tmp/systemd-private-*", "/var/log/journal"];
