import { SetupFailure } from './failure.mjs';

const MINIMUM = [20, 19];

/** Refuses a Node or a platform that the project cannot run on. */
export function requireSupportedNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const [wantedMajor = 0, wantedMinor = 0] = MINIMUM;
  if (major < wantedMajor || (major === wantedMajor && minor < wantedMinor)) {
    throw new SetupFailure({
      what: 'This Node is too old.',
      where: process.execPath,
      expected: `Node ${MINIMUM.join('.')} or newer`,
      got: `Node ${process.versions.node}`,
      cure: 'install a newer Node (https://nodejs.org) and run the command again',
    });
  }
  if (process.platform !== 'linux') {
    throw new SetupFailure({
      what: 'Trainyard runs on Linux only, so far.',
      expected: 'linux (x64 or arm64)',
      got: `${process.platform} (${process.arch})`,
      cure: 'use a Linux machine, a container, or WSL 2',
    });
  }
}
