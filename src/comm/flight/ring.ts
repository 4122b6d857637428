/** The last so many things that were pushed. */
export class Ring<Thing> {
  readonly #capacity: number;
  readonly #things: Thing[] = [];
  /** Where the next one goes once the ring is full: the place of the oldest. */
  #next = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  push(thing: Thing): void {
    if (this.#things.length < this.#capacity) {
      this.#things.push(thing);
      return;
    }
    this.#things[this.#next] = thing;
    this.#next = (this.#next + 1) % this.#capacity;
  }

  /** From the oldest to the newest; `most`: only the newest so many. */
  toArray(most: number = this.#capacity): readonly Thing[] {
    const all = [...this.#things.slice(this.#next), ...this.#things.slice(0, this.#next)];
    return all.slice(Math.max(0, all.length - most));
  }
}
