import { readFileSync } from 'node:fs';
import { inRoot } from '../setup/paths.mjs';

/**
 * A file may import its own floor and those that floors.json grants it, all of them lower. `src/index.ts`, the
 * door of the library, stands above all floors, and so do the tests of whole programs in test/.
 *
 * @param {readonly import('./modules.mjs').Module[]} modules
 * @returns {string[]} one line per import that goes up, sideways or nowhere
 */
export function checkFloors(modules) {
  /** @type {readonly { name: string, may: readonly string[] }[]} */
  const floors = JSON.parse(readFileSync(inRoot('floors.json'), 'utf8')).floors;
  return [...checkOrder(floors), ...modules.flatMap((module) => checkModule(module, floors))];
}

/** @param {readonly { name: string, may: readonly string[] }[]} floors */
function checkOrder(floors) {
  const names = floors.map(({ name }) => name);
  return floors.flatMap(({ name, may }, height) =>
    may
      .filter((lower) => !names.slice(0, height).includes(lower))
      .map((lower) => `floors.json: ${name} may import ${lower}, which is not below it`),
  );
}

/**
 * @param {import('./modules.mjs').Module} module
 * @param {readonly { name: string, may: readonly string[] }[]} floors
 */
function checkModule({ path, imports }, floors) {
  const own = floorOf(path);
  if (own === undefined) return [];
  const floor = floors.find(({ name }) => name === own);
  if (floor === undefined) return [`${path}: the folder src/${own} is no floor of floors.json`];
  const allowed = [own, ...floor.may];
  return imports.flatMap(({ target, specifier, line }) => {
    if (target === undefined) return [];
    const place = `${path}:${line}`;
    if (!target.startsWith('src/')) return [`${place}: imports ${specifier}, which is outside src`];
    const other = floorOf(target);
    if (other !== undefined && allowed.includes(other)) return [];
    return [
      `${place}: ${own} may not import ${other ?? target} (${specifier}); it may import ${allowed.join(', ')}`,
    ];
  });
}

/** "src/base/errors.ts" → "base"; undefined for files that stand above the floors. @param {string} path */
function floorOf(path) {
  return /^src\/([^/]+)\//.exec(path)?.[1];
}
