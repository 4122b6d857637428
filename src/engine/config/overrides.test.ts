import assert from 'node:assert/strict';
import { test } from 'node:test';
import { applyOverrides, parseOverride } from './overrides.js';

function overridden(config: Parameters<typeof applyOverrides>[0], ...settings: readonly string[]): unknown {
  return applyOverrides(config, settings.map(parseOverride));
}

test('a value is JSON where it can be, and text where it cannot', () => {
  const value = (setting: string) => parseOverride(setting).value;
  assert.equal(value('seed=3'), 3);
  assert.equal(value('seed=1e-4'), 1e-4);
  assert.equal(value('flag=true'), true);
  assert.equal(value('none=null'), null);
  assert.equal(value('device=cuda'), 'cuda');
  assert.equal(value('output=runs/a=b'), 'runs/a=b');
  assert.equal(value('output="3"'), '3');
  assert.equal(value('output='), '');
  assert.deepEqual(value('mesh={"tensor": 1}'), { tensor: 1 });
  assert.deepEqual(value('data.path=["a", "b"]'), ['a', 'b']);
});

test('what is missing on the way is made; what is there stays', () => {
  assert.deepEqual(overridden({ mesh: { tensor: 1 } }, 'mesh.pipeline=2', 'optimizer.params.lr=0.1'), {
    mesh: { tensor: 1, pipeline: 2 },
    optimizer: { params: { lr: 0.1 } },
  });
});

test('lists are reached by index, and grow by one', () => {
  assert.deepEqual(overridden({ data: { path: ['a', 'b'] } }, 'data.path.0=c', 'data.path.2=d'), {
    data: { path: ['c', 'b', 'd'] },
  });
});

test('of two overrides of a key the later one counts, and the input is left alone', () => {
  const config = { seed: 1 };
  assert.deepEqual(overridden(config, 'seed=2', 'seed=3'), { seed: 3 });
  assert.deepEqual(config, { seed: 1 });
});
