import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { configurations } from './fuzz/configurations.js';
import { fuzz, type MakeFuzzer } from './fuzz/fuzz.js';
import { headers } from './fuzz/headers.js';
import { manifests } from './fuzz/manifests.js';
import { tokenizers } from './fuzz/tokenizers.js';
import { memoryFolder } from './memory-folder.js';

// Files that nobody vouches for, made up from a seed: each is used, or refused in words; none crashes the process, takes a
// second, or leads to a file outside its folder. `node dist/test/fuzz-inputs.js`, or a part of it again:
//
//   --kind K             configurations, headers, tokenizers or manifests (default: all)
//   --rounds N           of each kind (default: ten times those of `npm test`)
//   --seed N --first N   which inputs (default 1, 0)
//   --address-sanitizer  with the add-on that `node scripts/build-native.mjs --sanitize address` has compiled

const KINDS: Readonly<Record<string, { readonly make: MakeFuzzer; readonly rounds: number }>> = {
  configurations: { make: configurations, rounds: 100_000 },
  headers: { make: headers, rounds: 100_000 },
  tokenizers: { make: tokenizers, rounds: 50_000 },
  manifests: { make: manifests, rounds: 50_000 },
};

const { values } = parseArgs({
  options: {
    kind: { type: 'string' },
    rounds: { type: 'string' },
    seed: { type: 'string', default: '1' },
    first: { type: 'string', default: '0' },
    'address-sanitizer': { type: 'boolean', default: false },
  },
});
if (values['address-sanitizer']) process.exitCode = runSanitized();
else runKinds();

function runKinds(): void {
  let faults = 0;
  for (const [kind, { make, rounds }] of Object.entries(KINDS)) {
    if (values.kind !== undefined && values.kind !== kind) continue;
    const folder = memoryFolder(`trainyard-fuzz-${kind}-`);
    const range = {
      seed: Number(values.seed),
      first: Number(values.first),
      rounds: Number(values.rounds ?? rounds),
    };
    const found = fuzz(make, folder, range);
    rmSync(folder, { recursive: true });
    for (const { round, fault } of found.faults) {
      process.stdout.write(
        `FAULT --kind ${kind} --seed ${range.seed} --first ${round} --rounds 1\n${fault}\n`,
      );
    }
    faults += found.faults.length;
    process.stdout.write(
      `${kind}, seed ${range.seed}: ${found.accepted} accepted, ${found.refused} refused, ${found.faults.length} faults, ` +
        `at most ${Math.ceil(found.longestMs)} ms\n`,
    );
  }
  process.exitCode = faults === 0 ? 0 : 1;
}

/** In a process of its own: the checks have to be there before anything else is loaded. Leaks are Node's own, by design. */
function runSanitized(): number {
  const addon = join(import.meta.dirname, '../../build/native-address/trainyard.node');
  const compiler = process.env.CXX ?? 'c++';
  const library = spawnSync(compiler, ['-print-file-name=libasan.so'], { encoding: 'utf8' }).stdout.trim();
  const args = process.argv.slice(1).filter((arg) => arg !== '--address-sanitizer');
  const { status } = spawnSync(process.execPath, args, {
    env: {
      ...process.env,
      LD_PRELOAD: library,
      TRAINYARD_NATIVE: addon,
      ASAN_OPTIONS: 'detect_leaks=0',
    },
    stdio: 'inherit',
  });
  return status ?? 1;
}
