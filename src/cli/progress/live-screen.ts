/** A terminal that can be written to: stderr, or a recording of one. */
export interface Terminal {
  readonly columns?: number;
  write(text: string): boolean;
}

const HIDE_CURSOR = '\u001b[?25l';
const SHOW_CURSOR = '\u001b[?25h';
const ERASE_LINE = '\r\u001b[2K';
const NO_WRAP = '\u001b[?7l';
const WRAP = '\u001b[?7h';
const DEFAULT_COLUMNS = 80;

/**
 * A terminal with one line at its bottom that is drawn over and over, while ordinary lines scroll above it.
 * Whatever ends the process, the cursor comes back.
 */
export class LiveScreen {
  readonly #terminal: Terminal;
  readonly #restore = (): void => this.close();
  #line = '';
  #isOpen = true;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
    terminal.write(HIDE_CURSOR);
    process.on('exit', this.#restore);
  }

  /** Columns that a line may fill: the last stays free, where some terminals wrap early. */
  get width(): number {
    return (this.#terminal.columns ?? DEFAULT_COLUMNS) - 1;
  }

  /** Replaces the live line. */
  draw(line: string): void {
    if (!this.#isOpen || line === this.#line) return;
    this.#line = line;
    this.#terminal.write(`${ERASE_LINE}${NO_WRAP}${line}${WRAP}`);
  }

  /** Writes lines above the live line. */
  print(lines: readonly string[]): void {
    if (lines.length === 0) return;
    const text = lines.map((line) => `${line}\n`).join('');
    if (!this.#isOpen) this.#terminal.write(text);
    else this.#terminal.write(`${ERASE_LINE}${text}${NO_WRAP}${this.#line}${WRAP}`);
  }

  /** Leaves the live line as it is, if there is one, and gives the terminal back. */
  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    process.off('exit', this.#restore);
    this.#terminal.write(`${this.#line === '' ? '' : '\n'}${SHOW_CURSOR}`);
  }
}
