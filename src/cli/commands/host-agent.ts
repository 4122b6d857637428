import { env } from '../../base/env.js';
import { runHostAgent } from '../../launch/hosts/agent.js';
import { version } from '../version.js';
import { mainProgram } from './supervise-ranks.js';

/** Starts ranks on this host for a launcher on another one, with which it speaks over stdin and stdout. */
export async function hostAgent(): Promise<never> {
  await runHostAgent({
    program: { executable: process.execPath, arguments: [mainProgram()] },
    variables: env.variables,
    version: version(),
    input: process.stdin,
    output: process.stdout,
  });
  process.exit(0);
}
