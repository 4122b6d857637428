import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { compileDescribed } from '../src/engine/describe-program.js';
import { effectsOf } from '../src/step/effects.js';
import { meetingText } from '../src/step/instruction-text.js';
import { type GroupName, membersOf, type Program } from '../src/step/program.js';

const FIXTURES = join(import.meta.dirname, '../../test/fixtures');

// Ranks that wait for long compare in what words each has begun a collective: other words end the run.
test('ranks that meet in a collective say the same of it', () => {
  const zero = { stage: 3, stage3_param_persistence_threshold: 0 };
  for (const settings of [
    { mesh: { pipeline: 2, tensor: 2, sequence_parallel: true }, zero_optimization: zero },
    { mesh: { pipeline: 4 }, 'pipeline.schedule': 'zero-bubble' },
    { mesh: { pipeline: 2 }, pipeline: { schedule: 'interleaved', chunks: 2 } },
    { mesh: { pipeline: 2 }, zero_optimization: { ...zero, mics_shard_size: 2 } },
    { mesh: { tensor: 2 }, zero_optimization: { ...zero, zero_hpz_partition_size: 2 } },
    { sequence_parallel_size: 2 },
    { redundancy: { type: 'local' } },
  ]) {
    const overrides = Object.entries({
      model: join(FIXTURES, 'models/llama-gqa-tied'),
      train_batch_size: 16,
      gradient_accumulation_steps: 2,
      ...settings,
    }).map(([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
    const options = { configPath: join(FIXTURES, 'empty-config.json'), overrides, worldSize: 8 };
    for (const { programs } of compileDescribed(options)) {
      for (const program of programs) {
        for (const group of Object.keys(program.groups) as GroupName[]) {
          const [first = program.rank] = membersOf(program, group);
          const other = programs.find(({ rank }) => rank === first) ?? program;
          assert.deepEqual(textsOf(program, group), textsOf(other, group), JSON.stringify(settings));
        }
      }
    }
  }
});

/** What a rank says of its collectives in a group, in their order. */
function textsOf(program: Program, group: GroupName): readonly string[] {
  return program.instructions.flatMap((instruction) => {
    const { collective, inside = [] } = effectsOf(instruction, program);
    const all = [...inside, ...(collective ? [collective] : [])];
    return all.filter((each) => each.group === group).map(() => meetingText(instruction));
  });
}
