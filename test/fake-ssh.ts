import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Does as ssh and the other side's sshd would, on this machine: the words after the host are joined by spaces and read by
 * a shell. What it was called with is kept. A host that is called `down…` is.
 */
const SCRIPT = `#!/bin/bash
printf '%s\\0' "$@" > "$(dirname "$0")/calls/$$"
while [ "$1" != -- ]; do shift; done
case "$2" in down*) echo "ssh: connect to host $2 port 22: No route to host" >&2; exit 255;; esac
shift 2
echo "Welcome to a host that greets everybody"
exec sh -c "exec $*"
`;

/** An `ssh` for the front of PATH. */
export class FakeSsh {
  constructor(readonly folder: string) {
    mkdirSync(join(folder, 'calls'));
    writeFileSync(join(folder, 'ssh'), SCRIPT);
    chmodSync(join(folder, 'ssh'), 0o700);
  }

  /** The words of each call, and the process that then became the agent. */
  calls(): readonly { readonly pid: number; readonly words: readonly string[] }[] {
    const calls = join(this.folder, 'calls');
    return readdirSync(calls).map((pid) => ({
      pid: Number(pid),
      words: readFileSync(join(calls, pid), 'utf8').split('\0').slice(0, -1),
    }));
  }
}
