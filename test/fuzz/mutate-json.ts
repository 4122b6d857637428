/** What a JSON text can say. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** One of the items. */
export function pick<Item>(items: readonly Item[], chance: () => number): Item | undefined {
  return items[Math.floor(chance() * items.length)];
}

/** Values that are seldom right anywhere. */
export const STRANGE_VALUES: readonly Json[] = [
  ...[null, true, false, -1, 0, 1, 0.5, 2 ** 31, 2 ** 53, 1e308],
  ...['', '../..', '/etc/passwd', '\u0000', '__proto__', 'x'.repeat(2000), '\ud800'],
  ...[[], {}, [[]], [0, 0], { type: '' }],
];

/** One value somewhere inside replaced, removed, doubled, or given another name. */
export function mutateJson(
  value: Json,
  chance: () => number,
  strange: readonly Json[] = STRANGE_VALUES,
): Json {
  const isLeaf = typeof value !== 'object' || value === null || chance() < 0.1;
  if (isLeaf) return pick(strange, chance) ?? null;
  if (isList(value)) {
    const at = Math.floor(chance() * value.length);
    const how = chance();
    if (how < 0.1) return value.filter((_, index) => index !== at);
    if (how < 0.2) return value.flatMap((each, index) => (index === at ? [each, each] : [each]));
    return value.map((each, index) => (index === at ? mutateJson(each, chance, strange) : each));
  }
  const entries = Object.entries(value);
  const chosen = pick(entries, chance)?.[0];
  const how = chance();
  return Object.fromEntries(
    entries.flatMap(([key, each]): [string, Json][] => {
      if (key !== chosen) return [[key, each]];
      if (how < 0.05) return [];
      return how < 0.1 ? [[`${key}x`, each]] : [[key, mutateJson(each, chance, strange)]];
    }),
  );
}

function isList(value: Json): value is readonly Json[] {
  return Array.isArray(value);
}

/** One to four mutations, most often one. */
export function mutateSeveral(value: Json, chance: () => number, strange?: readonly Json[]): Json {
  let changed = value;
  for (let times = 0; times <= chance() ** 2 * 4; times += 1) changed = mutateJson(changed, chance, strange);
  return changed;
}

const FRAGMENTS = [
  '{',
  '}',
  '[',
  ']',
  '"',
  ',',
  ':',
  '\\',
  '//',
  '/*',
  '-',
  '1e999',
  '\ufeff',
  '[['.repeat(5000),
];

/** A text with pieces removed and others put in, as bytes: some are no text any more. */
export function damageText(text: string, chance: () => number): Buffer {
  let damaged = text;
  for (let times = 0; times <= chance() * 3; times += 1) {
    const at = Math.floor(chance() * damaged.length);
    const inserted =
      chance() < 0.5 ? (pick(FRAGMENTS, chance) ?? '') : String.fromCharCode(chance() * 0x3000);
    damaged = damaged.slice(0, at) + inserted + damaged.slice(at + Math.floor(chance() * 6));
  }
  const bytes = Buffer.from(damaged);
  if (chance() < 0.1 && bytes.length > 0) bytes[Math.floor(chance() * bytes.length)] = 0xff;
  return bytes;
}
