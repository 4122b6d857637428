/** A binary heap: whatever `isBefore` puts first comes out first. */
export class Heap<Item> {
  readonly #items: Item[] = [];
  readonly #isBefore: (first: Item, second: Item) => boolean;

  constructor(isBefore: (first: Item, second: Item) => boolean) {
    this.#isBefore = isBefore;
  }

  push(item: Item): void {
    const items = this.#items;
    let hole = items.length;
    while (hole > 0) {
      const parent = (hole - 1) >> 1;
      const above = items[parent] as Item;
      if (!this.#isBefore(item, above)) break;
      items[hole] = above;
      hole = parent;
    }
    items[hole] = item;
  }

  pop(): Item | undefined {
    const items = this.#items;
    const first = items[0];
    const moved = items.pop();
    if (moved === undefined || items.length === 0) return moved;
    let hole = 0;
    for (let child = 1; child < items.length; child = 2 * hole + 1) {
      const sibling = child + 1;
      if (sibling < items.length && this.#isBefore(items[sibling] as Item, items[child] as Item))
        child = sibling;
      const below = items[child] as Item;
      if (!this.#isBefore(below, moved)) break;
      items[hole] = below;
      hole = child;
    }
    items[hole] = moved;
    return first;
  }
}
