import { TrainyardError } from '../../base/errors.js';

/**
 * Decodes UTF-8 and refuses anything else: a file in another encoding must not become replacement characters
 * that a model then learns.
 *
 * @param locate turns the offset of the first wrong byte within `bytes` into a place for the error message.
 * @throws DATA_INVALID at the first byte that is not UTF-8.
 */
export function decodeUtf8(bytes: Uint8Array, locate: (offset: number) => string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    const offset = firstInvalidByte(bytes);
    const value = bytes[offset];
    throw new TrainyardError('DATA_INVALID', {
      what: 'The file is not valid UTF-8.',
      where: locate(offset),
      expected: 'UTF-8 text',
      got:
        value === undefined
          ? 'an incomplete character at the end'
          : `byte 0x${value.toString(16).padStart(2, '0')}`,
      cure: 'Convert the file, for example with `iconv -f LATIN1 -t UTF-8`, or leave it out of data.path.',
    });
  }
}

/** How many bytes at the end begin a character that they do not finish: 0 to 3. */
export function incompleteSuffixLength(bytes: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const value = bytes[bytes.length - back] ?? 0;
    if (value < 0x80) return 0;
    if (value >= 0xc0) return sequenceLength(value) > back ? back : 0;
  }
  return 0;
}

function sequenceLength(lead: number): number {
  if (lead < 0x80) return 1;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  return lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

/** The offset at which the bytes stop being UTF-8 (RFC 3629: shortest forms only, no surrogates), or their length. */
function firstInvalidByte(bytes: Uint8Array): number {
  let position = 0;
  while (position < bytes.length) {
    const lead = bytes[position] ?? 0;
    const length = sequenceLength(lead);
    if (length === 0) return position;
    for (let follower = 1; follower < length; follower++) {
      const value = bytes[position + follower];
      const [low, high] = follower === 1 ? secondByteRange(lead) : [0x80, 0xbf];
      if (value === undefined || value < low || value > high)
        return Math.min(position + follower, bytes.length);
    }
    position += length;
  }
  return position;
}

function secondByteRange(lead: number): readonly [low: number, high: number] {
  switch (lead) {
    case 0xe0:
      return [0xa0, 0xbf];
    case 0xed:
      return [0x80, 0x9f];
    case 0xf0:
      return [0x90, 0xbf];
    case 0xf4:
      return [0x80, 0x8f];
    default:
      return [0x80, 0xbf];
  }
}
