# shellcheck shell=bash
# Shared by the scripts of this directory: sets `root`, and makes PATH the same for every user.

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

# npm replaces node_modules while it runs, so it must not itself run on the Node that lives there; hence tools from
# node_modules come onto PATH only by use_project_tools, even when an npm script has put them there already.
path_without_project_tools() {
  local entry kept=() entries=()
  IFS=: read -ra entries <<<"$PATH"
  for entry in "${entries[@]}"; do
    [[ $entry == "$root/node_modules/.bin" || -z $entry ]] || kept+=("$entry")
  done
  # mke2fs lives in an sbin directory, which an ordinary user's PATH lacks on Debian.
  for entry in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin; do
    [[ ":$(IFS=:; echo "${kept[*]}"):" == *":$entry:"* ]] || kept+=("$entry")
  done
  (IFS=:; echo "${kept[*]}")
}

# Node 24 and the development tools of package.json, before anything that the machine has.
use_project_tools() {
  PATH="$root/node_modules/.bin:$PATH"
}

has() {
  command -v -- "$1" >/dev/null 2>&1
}

say() {
  printf '%s: %s\n' "${0##*/}" "$*"
}

fail() {
  printf '%s: error: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

PATH=$(path_without_project_tools)
export PATH
