/** An agent of the tests, whose ranks are `launch-rank-program.js`. */
import { fileURLToPath } from 'node:url';
import { runHostAgent } from '../src/launch/hosts/agent.js';

const rankProgram = fileURLToPath(new URL('./launch-rank-program.js', import.meta.url));
await runHostAgent({
  program: { executable: process.execPath, arguments: [rankProgram] },
  variables: process.env,
  version: '1.0.0',
  input: process.stdin,
  output: process.stdout,
});
process.exit(0);
