import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { initialize } from '../src/engine/initialize.js';
import { liveTensors } from '../src/tensor/tensor.js';

const MODEL = join(import.meta.dirname, '../../test/fixtures/models/llama-gqa-tied');
const STEPS = 200;
const WARM_UP = 50;
const MEBIBYTE = 2 ** 20;

test('over 200 steps no handle is left behind, and resident memory stays flat', () => {
  const before = liveTensors();
  const engine = initialize({
    config: { model: MODEL, train_batch_size: 8, gradient_accumulation_steps: 2, gradient_clipping: 1 },
  });
  const inputIds = Array.from({ length: 8 }, (_, row) =>
    Array.from({ length: 32 }, (_, i) => (row * 7 + i * 3) % 96),
  );
  const handles: number[] = [];
  const resident: number[] = [];
  for (let step = 0; step < STEPS; step += 1) {
    engine.trainBatch({ inputIds });
    handles.push(liveTensors());
    resident.push(process.memoryUsage.rss());
  }
  // The first step makes what is kept for good: joined parameters, rotary tables.
  assert.deepEqual(
    new Set(handles.slice(1)).size,
    1,
    `handles: ${handles.slice(0, 5)} … ${handles.slice(-5)}`,
  );
  const early = Math.max(...resident.slice(WARM_UP, WARM_UP + 50));
  const late = Math.max(...resident.slice(-50));
  assert.ok(late - early < 16 * MEBIBYTE, `grew by ${(late - early) / MEBIBYTE} MiB`);
  engine.close();
  assert.equal(liveTensors(), before, 'closing frees the model, its optimizer and its tables');
});
