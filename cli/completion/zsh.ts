import { NAMES_COMMAND, type Words } from "./words.ts";

/** A script for zsh; to be put into a folder of $fpath as _substrate. */
export function zshCompletion(all: readonly Words[]): string {
  const cases = all.map(({ path, commands, options, operand }) => {
    const described = [
      ...commands.map(({ name, summary }) => entry(name, summary)),
      ...options.map(({ flag, summary }) => entry(flag, summary)),
    ];
    return `    '${path}') words=(${described.join(" ")}) kind='${commands.length === 0 ? operand : ""}' ;;`;
  });
  const groups = all.flatMap(({ path, commands }) =>
    path === "" ? [] : commands.map(({ name }) => `${path} ${name}`),
  );
  return `#compdef substrate
# zsh completion for substrate; made by: substrate completion zsh
_substrate() {
  local place='' word kind i
  local -a words_before words names
  words_before=("\${(@)words[2,CURRENT-1]}")
  for word in $words_before; do
    [[ $word == -- ]] && { _files; return }
    [[ $word == -* ]] && continue
    if [[ -z $place ]]; then place=$word; else
      case "$place $word" in (${groups.map((group) => group.replaceAll(" ", "\\ ")).join("|")}) place="$place $word" ;; esac
    fi
  done
  case $place in
${cases.join("\n")}
  esac
  _describe substrate words
  case $kind in
    vm|substrate) names=(\${(f)"$(substrate ${NAMES_COMMAND} $kind 2>/dev/null)"}); compadd -a names ;;
    file) _files ;;
  esac
}
_substrate "$@"
`;
}

function entry(word: string, summary: string): string {
  return `'${word}:${summary.replaceAll("'", "").replaceAll(":", " ")}'`;
}
