import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TrainyardError } from '../../base/errors.js';
import { resolveConfig, resolveObject, type UserConfig } from '../config.js';

const FILES = { device: 'nvme', nvme_path: '/local_nvme' } as const;

function refuses(config: UserConfig, where: string, says: RegExp, worldSize = 1): void {
  assert.throws(
    () => resolveConfig({ train_batch_size: 12, ...config }, { worldSize }),
    (error) => {
      assert(error instanceof TrainyardError);
      assert.ok(error.report.where?.includes(where), error.message);
      assert.match(error.message, says);
      return true;
    },
  );
}

test('each tier needs the stage that has its slices, on one rank as well', () => {
  for (const stage of [1, 2, 3] as const) {
    resolveConfig({ train_batch_size: 12, zero_optimization: { stage, offload_optimizer: FILES } });
  }
  refuses({ zero_optimization: { offload_optimizer: FILES } }, 'device', /no slices of its own/);
  refuses({ zero_optimization: { stage: 2, offload_param: FILES } }, 'device', /below stage 3/);
});

test('host memory on a CPU run is accepted with a note, and what would be about it is refused', () => {
  const zero = { stage: 3, offload_optimizer: { device: 'cpu', pin_memory: true } } as const;
  const { notes } = resolveObject({ train_batch_size: 12, zero_optimization: zero });
  assert.equal(notes.length, 1);
  assert.match(notes[0] ?? '', /offload_optimizer: device "cpu" changes nothing/);
  const zeroWith = (beside: object) => ({
    ...zero,
    offload_optimizer: { device: 'cpu', ...beside } as const,
  });
  refuses({ zero_optimization: zeroWith({ buffer_count: 2 }) }, 'buffer_count', /stays on the device/);
  refuses({ zero_optimization: zeroWith({ pin_memory: false }) }, 'pin_memory', /in a run on the CPU/);
  refuses({ zero_optimization: zeroWith({ nvme_path: '/local_nvme' }) }, 'nvme_path', /no effect/);
});

test('a section without its device is refused, one that is switched off is meant so', () => {
  refuses({ zero_optimization: { offload_param: { buffer_count: 5 } } }, 'buffer_count', /left out/);
  resolveConfig({
    train_batch_size: 12,
    zero_optimization: { offload_param: { device: 'none', buffer_count: 5, max_in_cpu: 1e9 } },
  });
  refuses({ zero_optimization: { stage: 1, offload_optimizer: { device: 'nvme' } } }, 'nvme_path', /missing/);
});

test('a delayed update is noted as other mathematics, and refused where its gradients or weights would be mixed', () => {
  const zero = { stage: 2, offload_optimizer: { ...FILES, overlap_step: true } } as const;
  const { notes } = resolveObject({ train_batch_size: 12, zero_optimization: zero });
  assert.match(notes.join(), /overlap_step changes the mathematics/);
  refuses({ zero_optimization: { ...zero, stage: 1 } }, 'overlap_step', /at stage 1 both would be/);
  const shared = { ...zero, offload_optimizer: { ...zero.offload_optimizer, ratio: 0.5 } };
  refuses({ zero_optimization: shared }, 'overlap_step', /updated on the device, at once/);
  refuses(
    { zero_optimization: zero, mesh: { pipeline: 2 } },
    'overlap_step',
    /beside stages of a pipeline/,
    2,
  );
  const idle = { stage: 2, offload_optimizer: { device: 'cpu', overlap_step: true } } as const;
  refuses({ zero_optimization: idle }, 'overlap_step', /stays on the device/);
});

test('what needs all of the state in memory, or has it more than once, is refused with its reason', () => {
  const zero_optimization = { stage: 1, offload_optimizer: FILES } as const;
  refuses({ zero_optimization, optimizer: { type: 'OneBitAdam' } }, 'device', /whole momentum/);
  refuses({ zero_optimization, redundancy: { type: 'groups', size: 2 } }, 'device', /"groups"/, 4);
  const checkpoint = { writer: { decoupled: true } };
  refuses({ zero_optimization, checkpoint }, 'checkpoint.writer.decoupled', /copied into memory/);
  refuses(
    { zero_optimization: { stage: 3, offload_param: FILES }, bf16: { enabled: true } },
    'offload_param.device',
    /fp32 weights of the optimizer/,
  );
});
