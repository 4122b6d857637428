import { readFileSync } from 'node:fs';
import { env } from '../../base/env.js';
import { TrainyardError } from '../../base/errors.js';
import { type RankEnvironment, rankEnvironment } from '../../launch/environment.js';
import { hostEnvironment } from '../../launch/host-environment.js';
import { type Host, parseHostfile, selectHosts } from '../../launch/hostfile.js';
import type { OtherHosts } from './supervise-ranks.js';
import { displayForCommand, superviseTraining } from './supervise-training.js';
import type { TrainOptions } from './train-options.js';

const USUAL_RESTARTS = 3;

/**
 * Starts the ranks, on this machine or on those of a hostfile, and watches over them; or, where a launcher has started this
 * very process as one of them, is that rank.
 */
export async function train(config: string, options: TrainOptions): Promise<void> {
  const hosts = readHosts(options);
  const environment = rankEnvironment(env.variables, options.ranks?.most);
  if (environment !== undefined) {
    if (hosts !== undefined) throw startedTwice(environment);
    demandOwnRestarts(options);
    const { trainAsRank } = await import('./train-rank.js');
    await trainAsRank(config, options, environment);
  }
  const otherHosts = hosts === undefined ? ownPart(options) : overSsh(hosts, options);
  if (otherHosts?.kind === 'own-part') demandOwnRestarts(options);
  const ranks = worldSizeOf(otherHosts) ?? options.ranks?.most ?? 1;
  const { exitCode } = await superviseTraining({
    config,
    ranks,
    leastRanks: otherHosts === undefined ? (options.ranks?.least ?? ranks) : ranks,
    otherHosts,
    // Where every host has a supervisor, none of them may start its ranks again without the others.
    maxRestarts: otherHosts?.kind === 'own-part' ? 0 : (options.maxRestarts ?? USUAL_RESTARTS),
    hangMs: options.hangTimeout === 0 ? undefined : options.hangTimeout * 1000,
    overrides: options.set ?? [],
    resume: options.resume === true,
    timeline: options.timeline,
    display: displayForCommand(options.json === true),
  });
  process.exitCode = exitCode;
}

/** Where others start ranks too, only they can start all of them again. */
function demandOwnRestarts({ ranks, maxRestarts = 0 }: TrainOptions): void {
  if (maxRestarts === 0 && (ranks === undefined || ranks.least === ranks.most)) return;
  throw new TrainyardError('USAGE', {
    what: 'These ranks cannot be started again from here: another launcher has started some of them, or all.',
    expected: 'no --max-restarts, and one number of --ranks',
    cure: 'let that launcher start them again (torchrun --max-restarts, a JobSet), with --resume',
  });
}

function readHosts({ hostfile, include, exclude, ...others }: TrainOptions): readonly Host[] | undefined {
  if (hostfile !== undefined)
    return selectHosts(parseHostfile(readText(hostfile), hostfile), { include, exclude });
  const { masterAddr, masterPort, insecureNetwork } = others;
  if ([include, exclude, masterAddr, masterPort, insecureNetwork].every((value) => value === undefined))
    return undefined;
  throw new TrainyardError('USAGE', {
    what: '--include, --exclude, --master-addr, --master-port and --insecure-network need a --hostfile.',
    cure: 'name one, or leave them out: the ranks of one machine meet on the machine itself',
  });
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new TrainyardError('HOSTFILE_INVALID', {
      what: 'The hostfile cannot be read.',
      where: path,
      got: error instanceof Error ? error.message : String(error),
    });
  }
}

function overSsh(hosts: readonly Host[], options: TrainOptions): OtherHosts {
  const ranks = hosts.reduce((sum, { slots }) => sum + slots.length, 0);
  const { least, most } = options.ranks ?? { least: ranks, most: ranks };
  if (least !== ranks || most !== ranks) {
    throw new TrainyardError('USAGE', {
      what: `--ranks ${least === most ? most : `${least}:${most}`} contradicts the hostfile.`,
      expected: `${ranks} ranks, one for each slot`,
      cure: 'leave --ranks out; choose slots with --include or --exclude',
    });
  }
  const { masterAddr: address, masterPort: port, insecureNetwork: allowPublic = false } = options;
  return { kind: 'over-ssh', hosts, meeting: { address, port, allowPublic } };
}

function ownPart(options: TrainOptions): OtherHosts | undefined {
  const part = hostEnvironment(env.variables, options.ranks?.most);
  return part && { kind: 'own-part', ...part };
}

function worldSizeOf(otherHosts: OtherHosts | undefined): number | undefined {
  if (otherHosts?.kind === 'own-part') return otherHosts.place.worldSize;
  return otherHosts?.hosts.reduce((sum, { slots }) => sum + slots.length, 0);
}

function startedTwice({ rank, worldSize }: RankEnvironment): TrainyardError {
  return new TrainyardError('USAGE', {
    what: `--hostfile starts ranks, but another launcher has started this process as rank ${rank} of ${worldSize}.`,
    cure: 'leave --hostfile out, or start one process without that launcher',
  });
}
