/**
 * The 256 characters that stand for bytes in a byte-level vocabulary, by byte (GPT-2, `bytes_to_unicode`).
 *
 * Bytes that print as themselves in Latin-1 stay; the other 68 take the characters from U+0100 on, in order.
 */
export const BYTE_CHARACTERS: readonly string[] = makeByteCharacters();

/** The reverse of `BYTE_CHARACTERS`: a character's byte. */
const CHARACTER_BYTES: ReadonlyMap<string, number> = new Map(
  BYTE_CHARACTERS.map((character, byte) => [character, byte]),
);

function makeByteCharacters(): string[] {
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
    return String.fromCharCode(printable ? byte : next++);
  });
}

/** The bytes that a vocabulary entry stands for, or `undefined` if it holds a character that stands for none. */
export function bytesOfEntry(entry: string): number[] | undefined {
  const bytes: number[] = [];
  for (const character of entry) {
    const byte = CHARACTER_BYTES.get(character);
    if (byte === undefined) return undefined;
    bytes.push(byte);
  }
  return bytes;
}
