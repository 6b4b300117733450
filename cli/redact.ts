const CENSORED = "[redacted]";

/** Tokens, also those of other daemons: lines of a token file, and what goes with a request. */
const TOKEN_LINE = /\b(read|write) [A-Za-z0-9_-]{43,256}\b/g;
const BEARER = /\bBearer\s+[\x21-\x7e]+/gi;
const IN_URL = /#token=[A-Za-z0-9_-]+/g;
/** JSON in a log: members whose values are another's secrets, whatever is in them. */
const SECRET_MEMBER =
  /("(?:env|files|content|contentBase64|stdin|stdinBase64|token|authorization|password)"\s*:\s*)(?:"(?:[^"\\]|\\.)*"|\{[^{}]*\}|\[(?:[^[\]"]|"(?:[^"\\]|\\.)*")*\])/gi;

/** Takes out of a text what would let its reader act as somebody else. */
export function redactor(tokenFile: string): (text: string) => string {
  const tokens = [...tokenFile.matchAll(/^\s*(?:read|write) (\S+)/gm)].map(([, token = ""]) => token);
  return (text) => {
    let clean = text;
    for (const token of tokens) clean = clean.replaceAll(token, CENSORED);
    return clean
      .replaceAll(TOKEN_LINE, `$1 ${CENSORED}`)
      .replaceAll(BEARER, `Bearer ${CENSORED}`)
      .replaceAll(IN_URL, `#token=${CENSORED}`)
      .replaceAll(SECRET_MEMBER, `$1"${CENSORED}"`);
  };
}
