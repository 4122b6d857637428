import { formatPath, type JsonPath } from '../../base/json-document.js';
import type { TokenizerJson } from './tokenizer-json.js';

/** Real files have a handful of nested components. */
const DEEPEST = 16;

/** Where components have components of their own. */
const LISTS = ['normalizers', 'pretokenizers', 'processors', 'decoders'] as const;

/** Components that look for something. */
const SEARCHING: readonly unknown[] = ['Split', 'Replace'];

/** What is wrong with a component, and where. */
export interface ComponentFault {
  readonly path: string;
  readonly what: string;
  readonly expected?: string;
}

/**
 * What the library would not refuse in words: it walks components by recursion, and a file must not choose how deep; of a
 * type that is no text it says nothing that can be read, and a pattern that it does not know it passes over.
 *
 * @returns the first fault
 */
export function faultOfComponents(json: TokenizerJson): ComponentFault | undefined {
  const { normalizer, pre_tokenizer, post_processor, decoder } = json;
  const roots = { normalizer, pre_tokenizer, post_processor, decoder };
  if (depthOf(Object.values(roots)) > DEEPEST) {
    return { path: '', what: 'The components of the tokenizer are nested too deeply.' };
  }
  return firstOf(Object.entries(roots), ([name, component]) =>
    component === undefined || component === null ? undefined : faultOf(component, [name]),
  );
}

/** How many levels there are below; no more than one too many are counted. */
function depthOf(values: readonly unknown[]): number {
  const inside = (level: readonly unknown[]): readonly unknown[] =>
    level.flatMap((value) => (isObject(value) ? Object.values(value) : []));
  let [depth, level] = [0, inside(values)];
  for (; level.length > 0 && depth <= DEEPEST; depth += 1) level = inside(level);
  return depth;
}

function faultOf(component: unknown, path: JsonPath): ComponentFault | undefined {
  if (!isObject(component) || typeof component.type !== 'string') {
    return {
      path: formatPath([...path, 'type']),
      what: 'A component of the tokenizer does not say what it is.',
      expected: 'the name of a type, as text',
    };
  }
  if (SEARCHING.includes(component.type) && !isPattern(component.pattern)) {
    return {
      path: formatPath([...path, 'pattern']),
      what: 'A component of the tokenizer does not say what to look for.',
      expected: '{"Regex": …} or {"String": …}',
    };
  }
  return firstOf(LISTS, (list) => {
    const members = component[list];
    if (!Array.isArray(members)) return undefined;
    return firstOf([...members.entries()], ([index, member]) => faultOf(member, [...path, list, index]));
  });
}

function isPattern(value: unknown): boolean {
  return isObject(value) && [value.Regex, value.String].some((each) => typeof each === 'string');
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

function firstOf<Item, Found>(
  items: readonly Item[],
  find: (item: Item) => Found | undefined,
): Found | undefined {
  for (const item of items) {
    const found = find(item);
    if (found !== undefined) return found;
  }
  return undefined;
}
