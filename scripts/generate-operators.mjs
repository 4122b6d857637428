// Writes src/tensor/generated/{tensor-operators,functions}.ts from libtorch's schemas of the operators named in
// src/tensor/operators.txt. `--check` writes nothing and fails when the files would change.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const folder = join(root, 'src/tensor/generated');
const native = createRequire(import.meta.url)(join(root, 'build/native/trainyard.node'));

/** Operators that give a tensor another shape in place (libtorch's tag "inplace_view"). */
const RESHAPING = new Set(
  'set_ resize_ resize_as_ t_ transpose_ swapaxes_ swapdims_ squeeze_ unsqueeze_ as_strided_'
    .split(' ')
    .map((name) => `aten::${name}`),
);

const operators = readOperators(readFileSync(join(root, 'src/tensor/operators.txt'), 'utf8'));
const groups = groupBy(operators, (operator) => operator.typeScriptName);
const methods = [...groups].filter(([, group]) => isMethod(group[0]));
const functions = [...groups].filter(([, group]) => !isMethod(group[0]));
const files = new Map([
  ['tensor-operators.ts', methodsFile(methods)],
  ['functions.ts', functionsFile(functions)],
]);

mkdirSync(folder, { recursive: true });
let changed = false;
for (const [name, text] of files) {
  const path = join(folder, name);
  const formatted = format(name, text);
  if (read(path) === formatted) continue;
  changed = true;
  if (process.argv.includes('--check')) console.error(`${path} is out of date: run \`npm run generate\``);
  else writeFileSync(path, formatted);
}
if (changed && process.argv.includes('--check')) process.exit(1);

/** @typedef {{type: string, name: string, optional: boolean, keyword: boolean}} Argument */
/** @typedef {{name: string, overload: string, typeScriptName: string, arguments: Argument[], returns: string[], schema: string}} Operator */

/** @returns {Operator[]} */
function readOperators(text) {
  const lines = text.split('\n').map((line) => line.replace(/#.*/, '').trim());
  return lines.filter(Boolean).map((line) => {
    const [full, alias] = line.split('=').map((part) => part.trim());
    const [, name, overload = ''] = /^(\w+::\w+)(?:\.(\w+))?$/.exec(full);
    const schema = native.operatorSchema(native.findOperator(name, overload));
    const typeScriptName = alias ?? camelCase(name.split('::')[1]);
    return { name, overload, typeScriptName, schema, ...parseSchema(schema) };
  });
}

/** "aten::add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor" in its parts. */
function parseSchema(schema) {
  const open = schema.indexOf('(');
  const arrow = schema.lastIndexOf(') -> ');
  let keyword = false;
  const args = [];
  for (const part of splitTopLevel(schema.slice(open + 1, arrow))) {
    if (part === '*') keyword = true;
    else args.push({ ...parseArgument(part), keyword });
  }
  const result = schema.slice(arrow + 5);
  const returns = splitTopLevel(result.startsWith('(') ? result.slice(1, -1) : result);
  return { arguments: args, returns };
}

function parseArgument(part) {
  const [, type, name, fallback] = /^(.*?)\s+(\w+)(?:=(.*))?$/.exec(part);
  const plain = type.replace(/\([a-z!*|\-> ]*\)/g, '').replace(/SymInt/g, 'int');
  return { type: plain, name, optional: fallback !== undefined || plain.endsWith('?') };
}

function splitTopLevel(text) {
  const parts = [];
  let depth = 0;
  let current = '';
  for (const character of text) {
    if ('(['.includes(character)) depth += 1;
    if (')]'.includes(character)) depth -= 1;
    if (character === ',' && depth === 0) {
      parts.push(current.trim());
      current = '';
    } else current += character;
  }
  if (current.trim() !== '') parts.push(current.trim());
  return parts;
}

function isMethod(operator) {
  return (
    operator.name.startsWith('aten::') &&
    operator.arguments[0]?.name === 'self' &&
    operator.arguments[0].type === 'Tensor'
  );
}

/** The TypeScript type of a schema type, and how a value of it goes to the add-on. */
function typeOf(type) {
  const optional = type.endsWith('?');
  const bare = optional ? type.slice(0, -1) : type;
  const orNull = optional ? ' | null' : '';
  if (bare === 'Tensor')
    return {
      type: `Tensor${orNull}`,
      pass: (v, absent) => (optional || absent ? `${v}?.handle` : `${v}.handle`),
    };
  if (bare === 'Tensor[]') return { type: `readonly Tensor[]${orNull}`, pass: (v) => `handles(${v})` };
  if (bare === 'Scalar') return { type: `number${orNull}`, pass: (v) => v };
  if (bare === 'int' || bare === 'float') return { type: `number${orNull}`, pass: (v) => v };
  if (bare === 'bool') return { type: `boolean${orNull}`, pass: (v) => v };
  if (bare === 'str') return { type: `string${orNull}`, pass: (v) => v };
  if (/^(int|float)\[\d+\]$/.test(bare))
    return { type: `number | readonly number[]${orNull}`, pass: (v) => v };
  if (/^(int|float)\[\]$/.test(bare)) return { type: `readonly number[]${orNull}`, pass: (v) => v };
  if (bare === 'ScalarType') return { type: 'DType', pass: (v) => `dtypeCode(${v})` };
  if (bare === 'Device') return { type: 'Device', pass: (v) => v };
  // Layouts, memory formats and generators keep their defaults.
  return undefined;
}

/** One call: the arguments in schema order, trailing defaults left out. */
function callOf(operator, self, overrides = new Map()) {
  const values = operator.arguments.map((argument, index) => {
    if (index === 0 && self !== undefined) return `${self}.handle`;
    const known = typeOf(argument.type);
    if (known === undefined) return 'undefined';
    const name = argument.keyword ? `options.${camelCase(argument.name)}` : camelCase(argument.name);
    return overrides.get(argument.name) ?? known.pass(name, argument.optional);
  });
  while (values.at(-1) === 'undefined') values.pop();
  return `native.call(${constantOf(operator)}${values.map((value) => `, ${value}`).join('')})`;
}

function constantOf(operator) {
  return `${operator.name.replace('::', '_')}${operator.overload ? `_${operator.overload}` : ''}`.toUpperCase();
}

function signature(operator, skipSelf, types = new Map()) {
  const positional = [];
  const keywords = [];
  const own = operator.arguments.slice(skipSelf ? 1 : 0);
  const lastRequired = own.findLastIndex((argument) => !argument.keyword && !argument.optional);
  own.forEach((argument, index) => {
    const known = typeOf(argument.type);
    if (known === undefined) return;
    const type = types.get(argument.name) ?? known.type;
    if (argument.keyword) keywords.push(`readonly ${camelCase(argument.name)}?: ${type}`);
    else if (argument.optional && index < lastRequired)
      positional.push(`${camelCase(argument.name)}: ${type} | undefined`);
    else positional.push(`${camelCase(argument.name)}${argument.optional ? '?' : ''}: ${type}`);
  });
  if (keywords.length > 0) positional.push(`options: { ${keywords.join('; ')} } = {}`);
  return positional.join(', ');
}

/** How the native result becomes a TypeScript one. */
function resultOf(operator, isMethodCall) {
  const [first] = operator.returns;
  const wrap = isMethodCall ? (handle) => `this.wrap(${handle})` : (handle) => `new Tensor(${handle})`;
  if (operator.returns.length === 0) return { type: 'void', make: (call) => `${call};` };
  if (operator.returns.every((type) => type.includes('!'))) {
    if (isMethodCall) {
      const forget = RESHAPING.has(operator.name) ? '\nthis.forgetMetadata();' : '';
      return { type: 'this', make: (call) => `${call};${forget}\nreturn this;` };
    }
    return { type: 'void', make: (call) => `${call};` };
  }
  if (operator.returns.length > 1) {
    const names = operator.returns.map((_, index) => `result${index}`);
    return {
      type: `[${operator.returns.map(() => 'Tensor').join(', ')}]`,
      make: (call) =>
        `const [${names.join(', ')}] = ${call} as Handle[] as [${names.map(() => 'Handle').join(', ')}];\nreturn [${names.map(wrap).join(', ')}];`,
    };
  }
  const plain = first.replace(/\([a-z!*|\-> ]*\)/g, '').split(' ')[0];
  switch (plain) {
    case 'Tensor':
      return { type: 'Tensor', make: (call) => `return ${wrap(`${call} as Handle`)};` };
    case 'Tensor[]':
      return {
        type: 'Tensor[]',
        make: (call) => `return (${call} as Handle[]).map((handle) => ${wrap('handle')});`,
      };
    case 'bool':
      return { type: 'boolean', make: (call) => `return ${call} as boolean;` };
    case 'int':
    case 'float':
    case 'Scalar':
      return { type: 'number', make: (call) => `return ${call} as number;` };
    default:
      throw new Error(`${operator.schema}: a result of type ${first} has no TypeScript form`);
  }
}

function memberOf([name, group], isMethodCall) {
  const [operator, scalar] =
    group[0].overload.startsWith('Scalar') || group[0].overload.endsWith('_Scalar')
      ? [group[1] ?? group[0], group[1] && group[0]]
      : group;
  if (group.length > 2) throw new Error(`${name}: more than two overloads`);
  const self = isMethodCall ? 'this' : undefined;
  const result = resultOf(operator, isMethodCall);
  const documentation = `/** \`${group.map((each) => each.schema).join('`; `')}\` */`;
  const head = isMethodCall ? name : `export function ${name}`;
  if (scalar === undefined) {
    return `${documentation}\n${head}(${signature(operator, isMethodCall)}): ${result.type} {\n${result.make(callOf(operator, self))}\n}`;
  }
  const chosen = operator.arguments.find(
    (argument, index) => argument.type === 'Tensor' && scalar.arguments[index].type === 'Scalar',
  );
  const parameter = camelCase(chosen.name);
  // The scalar form may name its argument differently (pow: exponent in both; masked_fill: value in both).
  const types = new Map([[chosen.name, 'Tensor | number']]);
  return `${documentation}\n${head}(${signature(operator, isMethodCall, types)}): ${result.type} {
if (typeof ${parameter} === 'number') {
${result.make(callOf(scalar, self, keywordsOf(operator)))}
}
${result.make(callOf(operator, self))}
}`;
}

/** What is a keyword in the tensor form may be positional in the number form (`alpha`): one signature serves both. */
function keywordsOf(operator) {
  const keywords = operator.arguments.filter(
    (argument) => argument.keyword && typeOf(argument.type) !== undefined,
  );
  return new Map(
    keywords.map((argument) => [
      argument.name,
      typeOf(argument.type).pass(`options.${camelCase(argument.name)}`, true),
    ]),
  );
}

function constants(list) {
  return list
    .flatMap(([, group]) => group)
    .map(
      (operator) =>
        `const ${constantOf(operator)} = findOperator('${operator.name}', '${operator.overload}');`,
    )
    .join('\n');
}

function methodsFile(list) {
  const body = list.map((entry) => memberOf(entry, true)).join('\n\n');
  return `// Generated by scripts/generate-operators.mjs from src/tensor/operators.txt. Do not edit.
import type { Handle } from '../../native/binding.js';
import { native } from '../../native/native.js';
import { type Device, type DType, dtypeCode } from '../dtype.js';
import { ${body.includes('handles(') ? 'findOperator, handles' : 'findOperator'} } from '../operator.js';
import type { Tensor } from '../tensor.js';

${constants(list)}

/** ATen's operators as methods; \`Tensor\` is the only subclass. */
export abstract class TensorOperators {
/** The native handle. */
abstract get handle(): Handle;
protected abstract wrap(handle: Handle): Tensor;
/** Called after an operator that may have changed shape, dtype or device in place. */
abstract forgetMetadata(): void;

${body}
}
`;
}

function functionsFile(list) {
  const body = list.map((entry) => memberOf(entry, false)).join('\n\n');
  return `// Generated by scripts/generate-operators.mjs from src/tensor/operators.txt. Do not edit.
import type { Handle } from '../../native/binding.js';
import { native } from '../../native/native.js';
import { type Device, type DType, dtypeCode } from '../dtype.js';
import { findOperator, handles } from '../operator.js';
import { Tensor } from '../tensor.js';

${constants(list)}

${body}
`;
}

function camelCase(name) {
  const reserved = new Set(['var', 'function', 'default', 'in']);
  const camel = name.replace(/(?<=[a-z0-9])_+([a-z0-9])/gi, (_, letter) => letter.toUpperCase());
  return reserved.has(camel) ? `${camel}_` : camel;
}

function groupBy(list, keyOf) {
  const result = new Map();
  for (const element of list) {
    const key = keyOf(element);
    result.set(key, [...(result.get(key) ?? []), element]);
  }
  return result;
}

function read(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

function format(name, text) {
  const biome = join(root, 'node_modules/.bin/biome');
  const result = spawnSync(biome, ['check', '--write', `--stdin-file-path=src/tensor/generated/${name}`], {
    input: text,
    encoding: 'utf8',
    cwd: root,
  });
  if (result.status !== 0 && result.stdout === '') throw new Error(result.stderr);
  return result.stdout;
}
