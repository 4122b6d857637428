/** Fills the window with the next bytes and returns how many there were; 0 at the end. */
export type ByteSource = (window: Uint8Array) => number;

/** Reports a broken rule; `rule` says what must hold, `got` what was met instead. */
export type Refuse = (rule: string, got?: string) => never;

const WINDOW_BYTES = 64 * 1024;
const DEEPEST = 32;
const LONGEST_TEXT = 16 * 1024 * 1024;
/** What one kept text costs beyond its characters: the string, its place in a map, its neighbours. */
const TEXT_OVERHEAD = 64;
const END = -1;

/** Hands out what is in memory already, a window after the other. */
export function bytesIn(content: Uint8Array): ByteSource {
  let position = 0;
  return (window) => {
    const part = content.subarray(position, position + window.length);
    window.set(part);
    position += part.length;
    return part.length;
  };
}

/**
 * Reads JSON from a file nobody vouches for. Unlike `JSON.parse` it refuses repeated keys and numbers that a
 * double cannot hold, never has the whole text in memory, and stops when what it handed out weighs more than
 * `keepBytes`: a hundred megabytes of hostile header cost their scan and nothing else.
 *
 * It is a pull reader: the caller asks for what the format has at this place, and anything else is refused.
 */
export class StrictJsonReader {
  readonly #window = new Uint8Array(WINDOW_BYTES);
  readonly #decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  #filled = 0;
  #cursor = 0;
  #before = 0;
  #text = new Uint8Array(256);
  #textLength = 0;
  #kept = 0;

  constructor(
    private readonly source: ByteSource,
    private readonly keepBytes: number,
    private readonly refuse: Refuse,
  ) {}

  /** Bytes read so far. */
  get position(): number {
    return this.#before + this.#cursor;
  }

  /** Counts memory that the caller is about to hold because of what was read. */
  keep(bytes: number): void {
    this.#kept += bytes;
    if (this.#kept > this.keepBytes) {
      this.refuse(`what a reader must remember stays below ${this.keepBytes} bytes`, this.#place());
    }
  }

  /** Reads an object, calling `member` at each value; `member` must read exactly that value. */
  readObject(member: (key: string) => void): void {
    const seen = new Set<string>();
    this.#open(0x7b, 'an object');
    if (this.#closes(0x7d)) return;
    do {
      this.skipWhitespace();
      const key = this.readString();
      if (seen.has(key)) this.refuse('no key appears twice', `${JSON.stringify(key.slice(0, 80))} again`);
      seen.add(key);
      this.skipWhitespace();
      this.#expect(0x3a, 'a colon after the key');
      this.skipWhitespace();
      member(key);
    } while (this.#continues(0x7d, 'a comma or a closing brace'));
  }

  /** Reads an array, calling `element` at each value. */
  readArray(element: () => void): void {
    this.#open(0x5b, 'an array');
    if (this.#closes(0x5d)) return;
    do {
      this.skipWhitespace();
      element();
    } while (this.#continues(0x5d, 'a comma or a closing bracket'));
  }

  readString(): string {
    this.#expect(0x22, 'a string');
    this.#textLength = 0;
    for (;;) {
      const byte = this.#next();
      if (byte === 0x22) break;
      if (byte === END) this.refuse('the text is whole', 'its end inside a string');
      if (byte < 0x20) this.refuse('no control character inside a string', this.#place());
      if (byte === 0x5c) this.#readEscape();
      else this.#push(byte);
    }
    this.keep(TEXT_OVERHEAD + this.#textLength);
    try {
      return this.#decoder.decode(this.#text.subarray(0, this.#textLength));
    } catch {
      return this.refuse('the text is valid UTF-8', this.#place());
    }
  }

  /** Reads a whole number from 0 to 2^53 - 1, written without sign, fraction or exponent. */
  readUnsigned(): number {
    let value = 0;
    let digits = 0;
    const leadingZero = this.#peek() === 0x30;
    for (let byte = this.#peek(); byte >= 0x30 && byte <= 0x39; byte = this.#peek()) {
      value = value * 10 + (byte - 0x30);
      digits += 1;
      if (value > Number.MAX_SAFE_INTEGER) this.refuse('a number is at most 2^53 - 1', this.#place());
      this.#cursor += 1;
    }
    if (digits === 0) this.refuse('a whole number, 0 or greater', this.#place());
    if (leadingZero && digits > 1) this.refuse('a number has no leading zero', this.#place());
    const after = this.#peek();
    if (after === 0x2e || after === 0x65 || after === 0x45) {
      this.refuse('a whole number has no fraction or exponent', this.#place());
    }
    return value;
  }

  /** Reads past one value of any kind. */
  skipValue(depth = 0): void {
    if (depth > DEEPEST) this.refuse(`values nest at most ${DEEPEST} deep`, this.#place());
    const byte = this.#peek();
    if (byte === 0x7b) this.readObject(() => this.skipValue(depth + 1));
    else if (byte === 0x5b) this.readArray(() => this.skipValue(depth + 1));
    else if (byte === 0x22) this.readString();
    else this.#skipWord();
  }

  /** Reads to the end of the text, where nothing but white space may follow. */
  readEnd(): void {
    this.skipWhitespace();
    if (this.#peek() !== END) this.refuse('nothing follows the closing brace', this.#place());
  }

  /** Reads to the end of the text, where nothing but the space character may follow. */
  readPadding(): void {
    while (this.#peek() === 0x20) this.#cursor += 1;
    if (this.#peek() !== END) this.refuse('nothing but spaces follows the closing brace', this.#place());
  }

  #skipWord(): void {
    let word = '';
    for (let byte = this.#peek(); isWordByte(byte) && word.length < 64; byte = this.#peek()) {
      word += String.fromCharCode(byte);
      this.#cursor += 1;
    }
    const isValue = /^(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)$/.test(word);
    if (!isValue) this.refuse('a JSON value', this.#place());
  }

  #readEscape(): void {
    const plain = ESCAPES.get(this.#next());
    if (plain === undefined) this.refuse('a known escape follows a backslash', this.#place());
    if (plain !== UNICODE) {
      this.#push(plain);
      return;
    }
    let point = this.#readHex();
    if (point >= 0xd800 && point <= 0xdbff && this.#next() === 0x5c && this.#next() === 0x75) {
      const low = this.#readHex();
      if (low < 0xdc00 || low > 0xdfff) this.refuse('surrogates come in pairs', this.#place());
      point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
    }
    if (point >= 0xd800 && point <= 0xdfff) this.refuse('surrogates come in pairs', this.#place());
    this.#pushPoint(point);
  }

  #readHex(): number {
    let value = 0;
    for (let digit = 0; digit < 4; digit += 1) {
      const nibble = Number.parseInt(String.fromCharCode(Math.max(0, this.#next())), 16);
      if (Number.isNaN(nibble)) this.refuse('four hexadecimal digits follow \\u', this.#place());
      value = value * 16 + nibble;
    }
    return value;
  }

  /** Appends a code point in UTF-8. */
  #pushPoint(point: number): void {
    if (point < 0x80) {
      this.#push(point);
      return;
    }
    const following = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
    const marker = (0xff00 >> (following + 1)) & 0xff;
    this.#push(marker | (point >> (6 * following)));
    for (let rest = following - 1; rest >= 0; rest -= 1) this.#push(0x80 | ((point >> (6 * rest)) & 0x3f));
  }

  #push(byte: number): void {
    if (this.#textLength === this.#text.length) {
      if (this.#textLength >= LONGEST_TEXT) {
        this.refuse(`a string has at most ${LONGEST_TEXT} bytes`, this.#place());
      }
      const larger = new Uint8Array(this.#text.length * 2);
      larger.set(this.#text);
      this.#text = larger;
    }
    this.#text[this.#textLength] = byte;
    this.#textLength += 1;
  }

  #open(byte: number, what: string): void {
    this.#expect(byte, what);
    this.skipWhitespace();
  }

  #closes(byte: number): boolean {
    if (this.#peek() !== byte) return false;
    this.#cursor += 1;
    return true;
  }

  #continues(closing: number, what: string): boolean {
    this.skipWhitespace();
    if (this.#closes(closing)) return false;
    this.#expect(0x2c, what);
    return true;
  }

  #expect(byte: number, what: string): void {
    if (this.#peek() !== byte) this.refuse(what, this.#place());
    this.#cursor += 1;
  }

  skipWhitespace(): void {
    for (let byte = this.#peek(); isWhitespace(byte); byte = this.#peek()) this.#cursor += 1;
  }

  #next(): number {
    const byte = this.#peek();
    if (byte !== END) this.#cursor += 1;
    return byte;
  }

  #peek(): number {
    if (this.#cursor === this.#filled && !this.#refill()) return END;
    return this.#window[this.#cursor] ?? END;
  }

  #refill(): boolean {
    this.#before += this.#filled;
    this.#cursor = 0;
    this.#filled = this.source(this.#window);
    return this.#filled > 0;
  }

  #place(): string {
    const byte = this.#peek();
    if (byte === END) return 'the end of the text';
    const shown =
      byte > 0x20 && byte < 0x7f ? `'${String.fromCharCode(byte)}'` : `byte 0x${byte.toString(16)}`;
    return `${shown} at byte ${this.position} of the text`;
  }
}

const UNICODE = -2;

const ESCAPES: ReadonlyMap<number, number> = new Map([
  [0x22, 0x22],
  [0x5c, 0x5c],
  [0x2f, 0x2f],
  [0x62, 0x08],
  [0x66, 0x0c],
  [0x6e, 0x0a],
  [0x72, 0x0d],
  [0x74, 0x09],
  [0x75, UNICODE],
]);

function isWhitespace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

function isWordByte(byte: number): boolean {
  const isDigit = byte >= 0x30 && byte <= 0x39;
  const isLetter = (byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x7a;
  return isDigit || isLetter || byte === 0x2b || byte === 0x2d || byte === 0x2e;
}
