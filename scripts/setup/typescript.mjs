import { existsSync } from 'node:fs';
import { SetupFailure } from './failure.mjs';
import { inRoot, root } from './paths.mjs';
import { filesUnder, fingerprint, isStamped, stamp } from './stamp.mjs';
import { runStep, say } from './tools.mjs';

/** Compiles src and test into dist, unless exactly these sources are compiled. */
export async function compileTypeScript() {
  const isSource = (/** @type {string} */ name) => name.endsWith('.ts');
  const sources = ['src', 'test'].flatMap((folder) => filesUnder(inRoot(folder), isSource));
  const print = fingerprint([...sources, inRoot('tsconfig.json'), inRoot('package-lock.json')], []);
  if (existsSync(inRoot('dist', 'src')) && isStamped('typescript', print)) return;
  say('typescript', `compiling ${sources.length} files`);
  const compiler = inRoot('node_modules', 'typescript', 'bin', 'tsc');
  const { status, output } = await runStep(process.execPath, [compiler, '-p', 'tsconfig.json'], {
    cwd: root,
  });
  if (status === 0) return stamp('typescript', print);
  throw new SetupFailure({
    what: `TypeScript found errors.\n${output.trimEnd()}`,
    where: 'npx tsc -p tsconfig.json',
    cure: 'correct the lines above, or, in a clone that you have not changed, report them',
  });
}
