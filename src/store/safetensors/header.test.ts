import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { OpenFile } from '../open-file.js';
import { readHeader, type SafetensorsHeader } from './header.js';

class Refused extends Error {
  constructor(
    readonly rule: string,
    readonly tensor: string | undefined,
  ) {
    super(rule);
  }
}

function inMemory(content: Uint8Array): OpenFile {
  return {
    bytes: content.byteLength,
    read(target, position) {
      assert.ok(position <= content.byteLength, `read from ${position} of ${content.byteLength}`);
      const part = content.subarray(position, position + target.byteLength);
      target.set(part);
      return part.byteLength;
    },
  };
}

function read(content: Uint8Array): SafetensorsHeader {
  return readHeader(inMemory(content), (rule, _got, tensor) => {
    throw new Refused(rule, tensor);
  });
}

function file(header: string | Uint8Array, data = 0, announced?: bigint): Uint8Array {
  const text = typeof header === 'string' ? Buffer.from(header) : header;
  const content = new Uint8Array(8 + text.byteLength + data);
  new DataView(content.buffer).setBigUint64(0, announced ?? BigInt(text.byteLength), true);
  content.set(text, 8);
  return content;
}

const tensor = (begin: number, end: number, shape = `[${end - begin}]`, dtype = 'U8'): string =>
  `{"dtype":"${dtype}","shape":${shape},"data_offsets":[${begin},${end}]}`;

test('a header says what is in the file', () => {
  const { entries, metadata } = read(
    file(
      `{"__metadata__":{"format":"pt","":"x"},"b":${tensor(4, 8, '[2,1]', 'F16')},"a":${tensor(0, 4)},` +
        `"empty":${tensor(4, 4, '[3,0]')},"scalar":${tensor(8, 16, '[]', 'F64')}}     `,
      16,
    ),
  );
  const start = entries.get('a')?.byteOffset ?? 0;
  assert.deepEqual(
    [...metadata],
    [
      ['format', 'pt'],
      ['', 'x'],
    ],
  );
  assert.deepEqual([...entries.keys()], ['b', 'a', 'empty', 'scalar']);
  assert.deepEqual(entries.get('b'), { dtype: 'F16', shape: [2, 1], byteOffset: start + 4, byteLength: 4 });
  assert.deepEqual(entries.get('empty')?.shape, [3, 0]);
  assert.deepEqual(entries.get('scalar')?.shape, []);
});

test('every type of the format is known, those narrower than a byte too', () => {
  const widths =
    'BOOL:8 F4:4 F6_E2M3:6 F6_E3M2:6 U8:8 I8:8 F8_E5M2:8 F8_E4M3:8 F8_E8M0:8 F8_E4M3FNUZ:8 F8_E5M2FNUZ:8 ' +
    'I16:16 U16:16 F16:16 BF16:16 I32:32 U32:32 F32:32 C64:64 F64:64 I64:64 U64:64';
  for (const [dtype, bits] of widths.split(' ').map((each) => each.split(':'))) {
    const shape = `[${192 / Number(bits)}]`;
    assert.equal(read(file(`{"a":${tensor(0, 24, shape, dtype)}}`, 24)).entries.get('a')?.dtype, dtype);
  }
});

test('names that JavaScript treats specially are names like any other', () => {
  const { entries } = read(
    file(`{"__proto__":${tensor(0, 1)},"constructor":${tensor(1, 2)},"\\u0000":${tensor(2, 3)}}`, 3),
  );
  assert.deepEqual([...entries.keys()], ['__proto__', 'constructor', '\u0000']);
});

test('a byte order mark inside a name is part of the name', () => {
  assert.deepEqual([...read(file(`{"\ufeffa":${tensor(0, 1)}}`, 1)).entries.keys()], ['\ufeffa']);
});

const BROKEN: readonly (readonly [string, Uint8Array, RegExp, string?])[] = [
  ['no length', new Uint8Array(7), /begins with the header's length/],
  ['empty', new Uint8Array(0), /begins with the header's length/],
  ['a header of no bytes', file(''), /begins with \{/],
  ['a length beyond the file', file('{}', 0, 3n), /lies inside the file/],
  ['a length of 2^64 - 1', file('{}', 0, 2n ** 64n - 1n), /at most 100000000 bytes/],
  ['a length of 100,000,001', file('{}', 0, 100_000_001n), /at most 100000000 bytes/],
  ['a space first', file(' {}'), /begins with \{/],
  ['a byte order mark first', file('\ufeff{}'), /begins with \{/],
  ['an array', file('[]'), /begins with \{/],
  ['a header cut short', file('{"a":{"dtype":"U8"'), /a comma or a closing brace/],
  ['a string cut short', file('{"a'), /the text is whole/],
  ['something after the brace', file('{}x'), /nothing but spaces/],
  ['a line break after the brace', file('{}\n'), /nothing but spaces/],
  ['a trailing comma', file(`{"a":${tensor(0, 1)},}`, 1), /a string/],
  ['a comment', file('{/**/}'), /a string/],
  ['single quotes', file("{'a':1}"), /a string/],
  ['invalid UTF-8', file(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x7d])), /valid UTF-8/],
  ['an overlong encoding', file(Buffer.from([0x7b, 0x22, 0xc0, 0xaf, 0x22, 0x3a, 0x7d])), /valid UTF-8/],
  ['half a surrogate pair', file('{"\\ud800":1}'), /surrogates come in pairs/],
  ['a second half first', file('{"\\udc00":1}'), /surrogates come in pairs/],
  ['a control character in a name', file('{"a\nb":1}'), /no control character/],
  ['an unknown escape', file('{"\\x41":1}'), /a known escape/],
  ['a tensor twice', file(`{"a":${tensor(0, 1)},"a":${tensor(0, 1)}}`, 1), /no key appears twice/],
  [
    'a tensor twice, once escaped',
    file(`{"a":${tensor(0, 1)},"\\u0061":${tensor(0, 1)}}`, 1),
    /no key appears twice/,
  ],
  ['metadata twice', file('{"__metadata__":{},"__metadata__":{}}'), /no key appears twice/],
  ['a metadata key twice', file('{"__metadata__":{"a":"1","a":"2"}}'), /no key appears twice/],
  ['a field twice', file('{"a":{"dtype":"U8","dtype":"U8"}}'), /no key appears twice/],
  ['metadata that is not text', file('{"__metadata__":{"a":1}}'), /a string/],
  ['metadata that is null', file('{"__metadata__":null}'), /an object/],
  ['a tensor that is an array', file('{"a":[]}'), /an object/],
  ['an unknown field', file(`{"a":{"strides":[1]}}`), /no other/, 'a'],
  ['no dtype', file('{"a":{"shape":[],"data_offsets":[0,0]}}'), /has the fields/, 'a'],
  ['no shape', file('{"a":{"dtype":"U8","data_offsets":[0,0]}}'), /has the fields/, 'a'],
  ['no offsets', file('{"a":{"dtype":"U8","shape":[]}}'), /has the fields/, 'a'],
  ['an unknown dtype', file(`{"a":${tensor(0, 1, '[1]', 'U9')}}`, 1), /one of the types/, 'a'],
  ['a dtype in small letters', file(`{"a":${tensor(0, 1, '[1]', 'u8')}}`, 1), /one of the types/, 'a'],
  [
    'the dtype "constructor"',
    file(`{"a":${tensor(0, 1, '[1]', 'constructor')}}`, 1),
    /one of the types/,
    'a',
  ],
  ['a negative size', file(`{"a":${tensor(0, 1, '[-1]')}}`, 1), /a whole number/],
  ['a fraction', file(`{"a":${tensor(0, 1, '[1.0]')}}`, 1), /no fraction/],
  ['an exponent', file(`{"a":${tensor(0, 1, '[1e0]')}}`, 1), /no fraction/],
  ['a leading zero', file(`{"a":${tensor(0, 1, '[01]')}}`, 1), /leading zero/],
  ['a size as text', file(`{"a":${tensor(0, 1, '["1"]')}}`, 1), /a whole number/],
  ['a size beyond 2^53', file(`{"a":${tensor(0, 1, '[9007199254740993]')}}`, 1), /2\^53 - 1/],
  ['a product beyond 2^53', file(`{"a":${tensor(0, 0, '[4294967296,4294967296]')}}`), /2\^53 - 1 bits/, 'a'],
  [
    'a product of 2^64, zero when it wraps',
    file(`{"a":${tensor(0, 0, '[4294967296,4294967296,1]')}}`),
    /2\^53/,
    'a',
  ],
  ['one offset', file('{"a":{"dtype":"U8","shape":[],"data_offsets":[0]}}'), /are two numbers/, 'a'],
  ['three offsets', file('{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0,0]}}'), /are two numbers/, 'a'],
  ['offsets the wrong way round', file(`{"a":${tensor(1, 0, '[0]')}}`, 1), /begin before they end/, 'a'],
  ['a shape too large for its span', file(`{"a":${tensor(0, 4, '[2]', 'F32')}}`, 4), /equals the span/, 'a'],
  ['a shape too small for its span', file(`{"a":${tensor(0, 4, '[3]')}}`, 4), /equals the span/, 'a'],
  ['half a byte', file(`{"a":${tensor(0, 1, '[1]', 'F4')}}`, 1), /whole bytes/, 'a'],
  ['a hole at the beginning', file(`{"a":${tensor(1, 2)}}`, 2), /lies between/, 'a'],
  ['a hole', file(`{"a":${tensor(0, 1)},"b":${tensor(2, 3)}}`, 3), /lies between/, 'b'],
  ['an overlap', file(`{"a":${tensor(0, 2)},"b":${tensor(1, 3)}}`, 3), /two tensors/, 'b'],
  ['the same bytes twice', file(`{"a":${tensor(0, 2)},"b":${tensor(0, 2)}}`, 2), /two tensors/, 'b'],
  [
    'an empty tensor inside another',
    file(`{"a":${tensor(0, 2)},"b":${tensor(1, 1)}}`, 2),
    /two tensors/,
    'b',
  ],
  ['an empty tensor far away', file(`{"a":${tensor(9, 9)}}`), /lies between/, 'a'],
  ['bytes after the last tensor', file(`{"a":${tensor(0, 1)}}`, 2), /ends with the file/],
  ['bytes and no tensor', file('{}', 1), /ends with the file/],
  ['a tensor beyond the file', file(`{"a":${tensor(0, 2)}}`, 1), /lies inside the file/, 'a'],
];

for (const [what, content, rule, name] of BROKEN) {
  test(`refused: ${what}`, () => {
    assert.throws(
      () => read(content),
      (error: unknown) => {
        assert.ok(error instanceof Refused, String(error));
        assert.match(error.rule, rule);
        if (name !== undefined) assert.equal(error.tensor, name);
        return true;
      },
    );
  });
}

/** A valid file whose header has `tensors` tensors, as header text and data length. */
const validHeader = fc
  .array(
    fc.record({
      name: fc.oneof(fc.constantFrom('a', 'lm_head.weight', '__proto__'), fc.string({ maxLength: 12 })),
      size: fc.nat({ max: 5 }),
    }),
    { maxLength: 6 },
  )
  .map((tensors) => {
    let end = 0;
    const unique = new Map(
      tensors.filter(({ name }) => name !== '__metadata__').map((each) => [each.name, each.size]),
    );
    const fields = [...unique].map(([name, size]) => {
      end += size;
      return `${JSON.stringify(name)}:${tensor(end - size, end)}`;
    });
    return { header: `{${fields.join(',')}}`, data: end };
  });

function refusedOrTiled(content: Uint8Array): 'refused' | 'accepted' {
  let header: SafetensorsHeader;
  try {
    header = read(content);
  } catch (error) {
    assert.ok(error instanceof Refused, `${error}`);
    return 'refused';
  }
  const { entries } = header;
  const headerEnd = 8 + Number(new DataView(content.buffer).getBigUint64(0, true));
  let bytes = 0;
  for (const { byteOffset, byteLength } of entries.values()) {
    assert.ok(byteOffset >= headerEnd && byteOffset + byteLength <= content.byteLength);
    bytes += byteLength;
  }
  assert.equal(bytes, content.byteLength - headerEnd);
  const parsed = JSON.parse(Buffer.from(content.subarray(8, headerEnd)).toString());
  assert.deepEqual(
    new Set(entries.keys()),
    new Set(Object.keys(parsed).filter((key) => key !== '__metadata__')),
  );
  return 'accepted';
}

test('blind mutations of a file are refused or still tile it', () => {
  const mutation = fc.tuple(
    fc.nat(),
    fc.integer({ min: 0, max: 255 }),
    fc.constantFrom('set', 'insert', 'remove', 'cut'),
  );
  let accepted = 0;
  fc.assert(
    fc.property(
      validHeader,
      fc.array(mutation, { minLength: 1, maxLength: 3 }),
      ({ header, data }, mutations) => {
        let content = file(header, data);
        for (const [at, byte, kind] of mutations) content = mutate(content, at, byte, kind);
        if (refusedOrTiled(content) === 'accepted') accepted += 1;
      },
    ),
    { numRuns: 10_000 },
  );
  assert.ok(accepted > 5, 'mutations of names get through');
});

function mutate(content: Uint8Array, at: number, byte: number, kind: string): Uint8Array {
  const place = at % Math.max(1, content.byteLength);
  const [head, tail] = [content.subarray(0, place), content.subarray(place)];
  if (kind === 'insert') return Uint8Array.from([...head, byte, ...tail]);
  if (kind === 'remove') return Uint8Array.from([...head, ...tail.subarray(1)]);
  if (kind === 'cut') return Uint8Array.from(head);
  return Uint8Array.from([...head, ...(tail.byteLength === 0 ? [] : [byte]), ...tail.subarray(1)]);
}

test('mutations that know the format are refused or still tile the file', () => {
  const number = fc.oneof(
    fc.nat({ max: 8 }).map(String),
    fc.constantFrom(
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
      'NaN',
    ),
  );
  const entry = fc
    .record({
      dtype: fc.constantFrom('"U8"', '"F4"', '"F32"', '"BOOL"', '"X"', '1', 'null'),
      shape: fc.array(number, { maxLength: 3 }).map((sizes) => `[${sizes.join(',')}]`),
      begin: number,
      end: number,
      form: fc.constantFrom('ok', 'ok', 'ok', 'extra', 'twice', 'missing'),
    })
    .map(({ dtype, shape, begin, end, form }) => {
      const fields = [`"dtype":${dtype}`, `"shape":${shape}`, `"data_offsets":[${begin},${end}]`];
      if (form === 'extra') fields.push('"x":{"y":[]}');
      if (form === 'twice') fields.push('"dtype":"U8"');
      if (form === 'missing') fields.pop();
      return `{${fields.join(',')}}`;
    });
  const name = fc.constantFrom('"a"', '"b"', '"\\u0061"', '"__metadata__"', '"__proto__"', '""');
  const header = fc
    .array(fc.tuple(name, entry), { maxLength: 4 })
    .map((entries) => `{${entries.map(([key, value]) => `${key}:${value}`).join(',')}}`);
  fc.assert(
    fc.property(header, fc.nat({ max: 12 }), fc.integer({ min: -2, max: 2 }), (text, data, off) => {
      refusedOrTiled(file(text, data, BigInt(Math.max(0, Buffer.byteLength(text) + off))));
    }),
    { numRuns: 10_000 },
  );
});
