import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { tensorOf } from '../../src/engine/stored-tensor.js';
import { engineDtypeOf } from '../../src/store/safetensors/dtype.js';
import { openSafetensors } from '../../src/store/safetensors.js';
import { scope } from '../../src/tensor/tensor.js';
import type { MakeFuzzer } from './fuzz.js';
import { pick } from './mutate-json.js';

const NAMES = ['"a"', '"b"', '"c"', '"lm_head.weight"', '"\\u0061"', '"__metadata__"', '"__proto__"', '""'];
const DTYPES = [
  '"U8"',
  '"F32"',
  '"F16"',
  '"BF16"',
  '"I64"',
  '"BOOL"',
  '"F8_E4M3"',
  '"F4"',
  '"X"',
  '1',
  'null',
];
const NUMBERS = [
  '-1',
  '-0',
  '1e9',
  '1.5',
  '9007199254740992',
  '18446744073709551616',
  'null',
  '"1"',
  '[]',
  '1e400',
];
const SIZES: Readonly<Record<string, number>> = { '"F32"': 4, '"F16"': 2, '"BF16"': 2, '"I64"': 8 };

/** Files in the safetensors format; every tensor is made by the add-on over the pages that it has mapped, and copied out. */
export const headers: MakeFuzzer = (folder) => {
  const path = join(folder, 'model.safetensors');
  return {
    codes: ['SAFETENSORS_INVALID'],
    round(chance) {
      writeFileSync(path, damage(makeFile(chance), chance));
      const file = openSafetensors(path);
      for (const name of file.names) {
        const { dtype, shape } = file.entry(name);
        const known = engineDtypeOf(dtype);
        const bytes = file.bytes(name);
        if (known === undefined) continue;
        scope(() =>
          assert.deepEqual(tensorOf({ bytes, shape, dtype: known }).toBytes(), Uint8Array.from(bytes)),
        );
      }
    },
  };
};

/** Right more often than not. */
function makeFile(chance: () => number): Buffer {
  const oddly = (right: string, odd: readonly string[]): string =>
    chance() < 0.04 ? (pick(odd, chance) ?? right) : right;
  let end = 0;
  const tensors = Array.from({ length: Math.floor(chance() * 5) }, (_, index) => {
    const dtype = pick(DTYPES.slice(0, 6), chance) ?? '"U8"';
    const shape = Array.from({ length: Math.floor(chance() * 3) }, () => Math.floor(chance() * 5));
    const begin = end;
    end += shape.reduce((product, size) => product * size, SIZES[dtype] ?? 1);
    const sizes = shape.map((size) => oddly(String(size), NUMBERS));
    const fields = [
      `"dtype":${oddly(dtype, DTYPES)}`,
      `"shape":[${sizes.join(',')}]`,
      `"data_offsets":[${oddly(String(begin), NUMBERS)},${oddly(String(end), NUMBERS)}]`,
    ];
    if (chance() < 0.02) fields.push(fields[Math.floor(chance() * 3)] ?? '');
    return `${oddly(NAMES[index] ?? '"d"', NAMES)}:{${fields.join(',')}}`;
  });
  const text = `{${tensors.join(',')}}${' '.repeat(Math.floor(chance() * 3))}`;
  const content = Buffer.alloc(8 + Buffer.byteLength(text) + end, 7);
  const announced = Buffer.byteLength(text) + (chance() < 0.04 ? Math.floor(chance() * 9) - 4 : 0);
  content.writeBigUInt64LE(BigInt(Math.max(0, announced)));
  content.write(text, 8);
  return content;
}

/** Bytes changed without a thought for the format, in every third file. */
function damage(content: Buffer, chance: () => number): Buffer {
  if (chance() > 0.33) return content;
  const at = Math.floor(chance() * content.length);
  const how = chance();
  if (how < 0.2) return content.subarray(0, at);
  if (how < 0.4)
    return Buffer.concat([content.subarray(0, at), Buffer.of(chance() * 256), content.subarray(at)]);
  content[at] = how < 0.6 ? (content[at] ?? 0) ^ (1 << Math.floor(chance() * 8)) : Math.floor(chance() * 256);
  return content;
}
