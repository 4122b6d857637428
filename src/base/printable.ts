// C0 and C1 controls, line and paragraph separators, marks that reorder text, lone surrogates.
const UNSAFE =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not reach a terminal
  /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/**
 * Text from outside (file names, tensor names, data) as it may be shown: what could steer a terminal or
 * forge a line is spelled out as `\u001b`.
 */
export function printable(text: string): string {
  return text.replace(UNSAFE, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** `printable` text that may have several lines. */
export function printableLines(text: string): string {
  return text.split('\n').map(printable).join('\n');
}

/** `printable` text in double quotes, cut in its middle when longer than `limit` characters. */
export function quote(text: string, limit = 120): string {
  if (text.length <= limit) return `"${printable(text)}"`;
  const half = Math.floor(limit / 2);
  return `"${printable(text.slice(0, half))}…${printable(text.slice(-half))}"`;
}
