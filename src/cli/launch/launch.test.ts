import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ClusterJob } from './job.js';
import { kubernetesManifest } from './kubernetes.js';
import { slurmScript } from './slurm.js';
import { type YamlValue, yamlDocuments } from './yaml.js';

const HOSTILE = [
  "a'b",
  '"',
  '$(touch canary)',
  '`touch canary`',
  ';touch canary',
  '$HOME',
  '\\',
  '*',
  ' ',
  '',
  '-x',
  '\n#SBATCH --wrap=x',
  'ü',
  '$$(A)',
  '~',
  '&&',
  '\u2028',
  '!!',
];

const JOB: ClusterJob = {
  name: 'run-1',
  hosts: 3,
  ranksPerHost: 4,
  arguments: ['train', ...HOSTILE, '--', 'run.json'],
};

test('an sbatch file hands every argument to srun as it is, with a secret that is in none of them', () => {
  const folder = mkdtempSync(join(tmpdir(), 'trainyard-sbatch-'));
  try {
    const srun = `#!/bin/bash\nprintf '%s\\0' "$TRAINYARD_RUN_ID" "$@" >words\n`;
    writeFileSync(join(folder, 'srun'), srun);
    chmodSync(join(folder, 'srun'), 0o700);
    writeFileSync(join(folder, 'job'), slurmScript({ ...JOB, gpusPerHost: 8 }, ['/opt/a b/node', 'main.js']));
    execFileSync('bash', ['job'], {
      cwd: folder,
      env: { ...process.env, PATH: `${folder}:${process.env.PATH}` },
    });
    const [secret = '', ...words] = readFileSync(join(folder, 'words'), 'utf8').split('\0').slice(0, -1);
    assert.match(secret, /^[0-9a-f]{32}$/);
    assert.deepEqual(words, [
      '--kill-on-bad-exit=0',
      '--wait=600',
      '/opt/a b/node',
      'main.js',
      ...JOB.arguments,
    ]);
    assert.ok(!existsSync(join(folder, 'canary')));
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('the sbatch file asks for nodes, tasks and GPUs, and no argument can ask for more', () => {
  const script = slurmScript({ ...JOB, gpusPerHost: 8 }, ['node']);
  const beforeCommands = script.slice(0, script.indexOf('set -euo'));
  assert.deepEqual(beforeCommands.match(/^#SBATCH .*$/gm), [
    '#SBATCH --job-name=run-1',
    '#SBATCH --nodes=3',
    '#SBATCH --ntasks-per-node=4',
    '#SBATCH --gpus-per-node=8',
    '#SBATCH --signal=TERM@120',
    '#SBATCH --open-mode=append',
  ]);
});

test('the manifest gives each pod its place; Kubernetes puts no variable into an argument', () => {
  const [secret, jobSet] = kubernetesManifest(JOB, 'registry/image:1').split('---\n').map(readYaml);
  const run = at(secret, 'stringData', 'run');
  assert.match(String(run), /^[0-9a-f]{32}$/);
  const spec = at(jobSet, 'spec', 'replicatedJobs', 0, 'template', 'spec');
  assert.deepEqual(
    [at(spec, 'completions'), at(spec, 'parallelism'), at(spec, 'completionMode')],
    [3, 3, 'Indexed'],
  );
  const container = at(spec, 'template', 'spec', 'containers', 0);
  const command = at(container, 'command');
  assert.ok(Array.isArray(command));
  assert.deepEqual(command.map(kubernetesExpands), ['trainyard', ...JOB.arguments]);
  assert.deepEqual(at(container, 'env', 2), { name: 'MASTER_ADDR', value: 'run-1-hosts-0-0.run-1' });
  assert.equal(JSON.stringify(jobSet).includes(String(run)), false);
});

test('names that a scheduler would not take are refused, and Kubernetes wants an image', () => {
  for (const name of ['', 'A', '1a', 'a-', 'a b', 'a\n#SBATCH --x', 'x'.repeat(41)]) {
    assert.throws(() => slurmScript({ ...JOB, name }, []), /name of a job/, name);
    assert.throws(() => kubernetesManifest({ ...JOB, name }, 'i'), /name of a job/, name);
  }
  assert.throws(() => kubernetesManifest(JOB, undefined), /--image/);
});

test('any value comes back from its YAML', () => {
  const { value } = fc.letrec<{ value: YamlValue }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      fc.string({ unit: 'binary' }),
      fc.integer(),
      fc.boolean(),
      fc.array(tie('value'), { maxLength: 3 }),
      fc.dictionary(fc.string(), tie('value'), { maxKeys: 3, noNullPrototype: true }),
    ),
  }));
  fc.assert(fc.property(value, (sent) => assert.deepEqual(readYaml(yamlDocuments([sent])), sent)));
});

const PYTHON = 'import sys, json, yaml; print(json.dumps(list(yaml.safe_load_all(sys.stdin.read()))))';

test('a real reader of YAML agrees, where there is one', () => {
  const sent = { words: HOSTILE, nested: [{ y: [], 'a.b/c': {}, no: 'no' }, [1, [true, '1e3']]] };
  const { status, stdout } = spawnSync('python3', ['-c', PYTHON], {
    input: yamlDocuments([sent, 'x']),
    encoding: 'utf8',
  });
  if (status === 0) assert.deepEqual(JSON.parse(stdout), [sent, 'x']);
});

/** As Kubernetes does with `command`, for a container without variables: `$$` is a dollar, `$(…)` would be replaced. */
function kubernetesExpands(word: YamlValue): string {
  return String(word).replaceAll(/\$\$|\$\(/g, (found) => (found === '$$' ? '$' : 'REPLACED'));
}

function at(value: unknown, ...path: readonly (string | number)[]): unknown {
  return path.reduce<unknown>(
    (inner, key) => (Object(inner) as Record<string | number, unknown>)[key],
    value,
  );
}

/** The little of YAML that is written: blocks by indentation, and JSON. */
function readYaml(text: string): YamlValue {
  return readBlock(text.replace(/\n$/, '').split('\n'));
}

function readBlock(lines: readonly string[]): YamlValue {
  const [first = ''] = lines;
  if (first.startsWith('- '))
    return cut(lines, (line) => line.startsWith('- ')).map((item) =>
      readBlock(item.map((line) => line.slice(2))),
    );
  const isEntry = (line: string): boolean => !line.startsWith(' ');
  if (!/^(?:[A-Za-z0-9]+|"(?:[^"\\]|\\.)*"):(?: |$)/.test(first))
    return JSON.parse(lines.join('\n')) as YamlValue;
  return Object.fromEntries(
    cut(lines, isEntry).map(([head = '', ...below]) => {
      const [, key = '', rest = ''] = /^([A-Za-z0-9]+|"(?:[^"\\]|\\.)*"):(?: (.*))?$/s.exec(head) ?? [];
      const value =
        below.length === 0 ? (JSON.parse(rest) as YamlValue) : readBlock(below.map((line) => line.slice(2)));
      return [key.startsWith('"') ? (JSON.parse(key) as string) : key, value];
    }),
  );
}

function cut(lines: readonly string[], isFirst: (line: string) => boolean): readonly (readonly string[])[] {
  const parts: string[][] = [];
  for (const line of lines) {
    if (isFirst(line)) parts.push([line]);
    else parts.at(-1)?.push(line);
  }
  return parts;
}
