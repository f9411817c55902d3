// From what was typed to a request, to its `curl`, and to text that shows all that is in it.

/** The passages in `typed`: one a line, or, where there are empty lines, one between two of them. */
export function passagesOf(typed) {
  const text = typed.trim();
  const parts = /\n\s*\n/.test(text) ? text.split(/\n\s*\n/) : text.split("\n");
  return parts.map((part) => part.trim()).filter(Boolean);
}

/** What the server is asked. */
export function bodyOf(query, passages, instruction) {
  const asked = { query, documents: passages, return_documents: false };
  return instruction.trim() ? { ...asked, instruction } : asked;
}

/** The request as a command for a shell, of any length; a key is named in it, not shown. */
export function curlFor(url, body, keyed) {
  const json = JSON.stringify(body).replace(UNSEEN, (sign) => `\\u${code(sign)}`);
  const key = keyed ? ['-H "Authorization: Bearer $KEY"'] : [];
  const parts = [`curl ${quoted(url)}`, "-H 'Content-Type: application/json'", ...key, "-d @- <<'END'"];
  return `${parts.join(" \\\n  ")}\n${json}\nEND`; // JSON is one line, and so never the last
}

/** `text`, with the numbers of control characters and of those that turn the direction around. */
export function visible(text) {
  return text.replace(UNSEEN, (sign) => `[U+${code(sign)}]`);
}

// Control characters but for tabs and line feeds; marks, overrides and isolates of direction; line
// separators; the byte order mark. Not the joiners, which many scripts and emoji need.
const UNSEEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

const code = (sign) => sign.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0");
const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replace(/'/g, "'\\''")}'`);
