import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TrainyardError } from '../base/errors.js';
import type { Block, Model } from './block.js';
import { BlockOfHalves } from './block-of-halves.js';
import { planFlatLayout } from './flat-layout.js';
import { splitBlocks } from './split-blocks.js';

const initializer = { kind: 'constant', value: 0 } as const;

function block(name: string, parameters: readonly string[], parameterPrefix?: string): Block {
  return {
    name,
    parameters: parameters.map((each) => ({ name: each, shape: [3], initializer })),
    joins: [parameters],
    forward: () => ({}),
    ...(parameterPrefix !== undefined && { parameterPrefix }),
  };
}

function model(blocks: readonly Block[]): Model {
  return { architecture: 'mine', vocabularySize: 1, blocks };
}

const LAYER = new BlockOfHalves('layer', [
  block('layer.first', ['a', 'b'], 'layer'),
  block('layer.second', ['c'], 'layer'),
]);

test('a block of halves has what both have, and the model in halves the same parameters', () => {
  assert.deepEqual(
    LAYER.parameters.map(({ name }) => name),
    ['a', 'b', 'c'],
  );
  assert.deepEqual(LAYER.joins, [['a', 'b'], ['c']]);
  const whole = model([block('embedding', ['table']), LAYER, block('', ['head'])]);
  const split = splitBlocks(whole);
  assert.deepEqual(
    split.blocks.map(({ name }) => name),
    ['embedding', 'layer.first', 'layer.second', ''],
  );
  const namesIn = ({ blocks }: Model) =>
    planFlatLayout(blocks)
      .blocks.flat()
      .map(({ name, shape }) => `${name} ${shape.join()}`);
  assert.deepEqual(namesIn(whole), ['embedding.table 3', 'layer.a 3', 'layer.b 3', 'layer.c 3', 'head 3']);
  assert.deepEqual(namesIn(split), namesIn(whole));
});

test('a block of halves hands what the first gives to the second', () => {
  const asked: string[] = [];
  const half = (name: string): Block => ({
    ...block(name, []),
    forward: (_, input) => {
      asked.push(`${name} after ${Object.keys(input).join()}`);
      return Object.fromEntries([[name, input.any]]) as ReturnType<Block['forward']>;
    },
  });
  const parameters = {} as Parameters<Block['forward']>[0];
  const context = {} as Parameters<Block['forward']>[2];
  const output = new BlockOfHalves('layer', [half('one'), half('two')]).forward(parameters, {}, context);
  assert.deepEqual(asked, ['one after ', 'two after one']);
  assert.deepEqual(Object.keys(output), ['two']);
});

test('halves that are not their block are refused: another name, another order, one too few', () => {
  const whole = block('layer', ['a', 'b']);
  for (const halves of [
    [block('layer.first', ['a']), block('layer.second', ['b'], 'layer')],
    [block('layer.first', ['b'], 'layer'), block('layer.second', ['a'], 'layer')],
    [block('layer.first', ['a'], 'layer'), block('layer.second', [], 'layer')],
  ] as const) {
    assert.throws(
      () => splitBlocks(model([{ ...whole, halves }])),
      (error) =>
        error instanceof TrainyardError &&
        error.code === 'MODEL_INVALID' &&
        error.message.includes('layer.a, layer.b'),
    );
  }
});
