import { NAMES_COMMAND, type Words } from "./words.ts";

/** A script for bash; to be read by `source` or put where bash-completion looks. */
export function bashCompletion(all: readonly Words[]): string {
  const cases = all.map(({ path, commands, options, operand }) => {
    const words = commands.map(({ name }) => name).join(" ");
    const flags = options.map(({ flag }) => flag).join(" ");
    const kind = commands.length === 0 ? operand : "";
    return `    '${path}') words='${words}' flags='${flags}' kind='${kind}' ;;`;
  });
  const choices = new Map(
    all.flatMap(({ options }) => options.filter((one) => one.choices.length > 0).map((one) => [one.flag, one.choices])),
  );
  const values = [...choices].map(
    ([flag, list]) => `    ${flag}) COMPREPLY=($(compgen -W '${list.join(" ")}' -- "$current")); return ;;`,
  );
  const groups = all.flatMap(({ path, commands }) =>
    path === "" ? [] : commands.map(({ name }) => `${path} ${name}`),
  );
  return `# bash completion for substrate; made by: substrate completion bash
_substrate() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD - 1]} path='' word words flags kind i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    [[ $word == -- ]] && return
    [[ $word == -* ]] && continue
    if [[ -z $path ]]; then path=$word; else
      case "$path $word" in ${groups.map((group) => `'${group}'`).join(" | ")}) path="$path $word" ;; esac
    fi
  done
  case $previous in
${values.join("\n")}
  esac
  case $path in
${cases.join("\n")}
    *) return ;;
  esac
  if [[ $current == -* ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "$current"))
    return
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  case $kind in
    vm | substrate) COMPREPLY+=($(compgen -W "$(substrate ${NAMES_COMMAND} "$kind" 2>/dev/null)" -- "$current")) ;;
    file) COMPREPLY+=($(compgen -f -- "$current")) ;;
  esac
}
complete -o filenames -F _substrate substrate
`;
}
