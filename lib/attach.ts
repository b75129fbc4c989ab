// Containers that another process has started.
import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Contained } from '../types/contained.js';
import type { ContainerInfo } from '../types/registry.js';
import { ContainedProcess } from './handle/contained.js';
import type { Origin } from './handle/origin.js';
import { signalName, toldSignal } from './host/signals.js';
import type { Subject } from './live/subject.js';
import { attend, type LaunchListener } from './launch.js';
import type { NativeExit } from './native.js';
import * as check from './options/check.js';
import { containerName } from './options/registration.js';
import type { CgroupSetting, Inheritance, Placement } from './options/settings.js';
import { bareProgram } from './program/compile.js';
import type { ContainerRecord } from './program/record.js';
import type { Program } from '../types/program.js';
import { Ending, exitOf, isKnown } from './registry/outcome.js';
import { allKept, forgetOwn, isBeingMade, keeperOf, lives, noSuchContainer, placeOf, readKept, takeAwayGroup, type Incarnation, type Kept } from './registry/records.js';

const LIFE = { timeout: undefined, cpuTimeout: undefined, output: undefined, signal: undefined, killSignal: 15, killGrace: 1000, trace: false };

/** What an outcome needs to know of the group; nothing of it is made or removed here. */
function groupOf(record: ContainerRecord): CgroupSetting | undefined {
  const where = placeOf(record);
  return where && {
    made: record.group!.made, where, unified: where.unified?.directory, enable: [], limits: [], devices: undefined, owner: undefined,
    v1: [...where.v1].map(([controller, directory]) => ({ controller, directory })),
    counters: record.group!.counters.map(name => ({ name, path: '' })),
    time: undefined,
  };
}

class Attached implements Origin {
  readonly settings;
  readonly id: string;
  readonly detached = true;  // not to be waited for: that is for whoever has started it
  readonly created: Date;
  lasted: number | undefined = undefined;
  readonly #kept: Kept;
  readonly #ending: Ending;

  constructor(kept: Kept, ending: Ending) {
    this.#kept = kept;
    this.#ending = ending;
    this.id = kept.record.id;
    this.created = new Date(kept.record.created);
    this.settings = { cgroup: groupOf(kept.record), impossible: undefined };
  }

  nextRun(): number {
    return 0;
  }

  begin(_run: number, _command: unknown, _trace: boolean, _fds: readonly number[], listener: LaunchListener): number {
    const { first = NOBODY, record } = this.#kept;
    const number = attend(first.pid, Number(first.start), record.cloneFlags, record.init, listener);
    process.nextTick(() => listener.onReady(first.pid, undefined, undefined));
    return number;
  }

  async finish({ requestedSignal }: NativeExit): Promise<NativeExit> {
    try {
      const exit = await this.#ending.read();
      this.lasted = Math.max(0, (await this.#ending.time()).getTime() - this.created.getTime());
      // What this process has asked for, its own launcher has sent.
      return { ...exit, requestedSignal: requestedSignal || exit.requestedSignal };
    } finally {
      await this.#ending.close();
    }
  }

  get directory(): string {
    return this.#kept.directory;
  }

  get logged(): boolean {
    return this.#kept.record.logged;
  }

  async isOver(): Promise<boolean> {
    const kept = await readKept(this.id);
    return kept === undefined || kept.outcome !== undefined || !lives(this.#kept.first);
  }

  async takeAway(): Promise<void> {
    const { keeper, record, directory, outcome } = this.#kept;
    if (outcome === undefined && !lives(await keeperOf(directory, record) ?? keeper)) await takeAwayGroup(record);
    await forgetOwn({ ...record, directory });
  }

  directories(): Record<string, string> {
    const { unified, v1 } = placeOf(this.#kept.record) ?? { unified: undefined, v1: new Map<string, string>() };
    return { ...unified ? { unified: unified.directory } : {}, ...Object.fromEntries(v1) };
  }

  fileOf(_run: number, path: string): string {
    return path;
  }

  about(): Omit<Subject, 'pid' | 'command' | 'env'> {
    const { group, own, init, inheritance: { cwd }, hostname } = this.#kept.record;
    return {
      id: this.id, where: placeOf(this.#kept.record), alone: group?.made ?? false, devices: group?.devices, create: new Set(own), init, cwd, hostname,
    };
  }

  inheritance(): Inheritance {
    return this.#kept.record.inheritance;
  }

  program(): Program {
    return bareProgram(0, 0, { file: '', search: '', argv: [], env: [] });
  }
}

/** Of one that was never on record as running. */
const NOBODY: Incarnation = { pid: 0, start: '0' };

/** Until its command runs there is nothing to be attached to: its namespaces are not yet made. */
async function find(id: string): Promise<Kept> {
  let kept = await readKept(containerName('id', id));
  for (; kept && !kept.begun && kept.outcome === undefined; kept = await readKept(id)) {
    if (!isBeingMade(kept) && !lives(kept.keeper)) break;
    await sleep(5);
  }
  if (kept) return kept;
  const names = (await allKept()).map(({ record }) => record.id);
  throw noSuchContainer(id, check.didYouMean(id, names));
}

/**
 * A container with a name (option `id`), whichever process of this user has started it: to wait for, kill, measure, or run
 * commands in. It is not kept running by this process, nor ended with it, and keeps this process running only when `exited` is
 * asked for. Its streams are null: they belong to who started it, or are a log (`logs()`).
 *
 * Of one that has ended, and is kept, `exited` tells how; it rejects with ECHILD where nobody knows, since the launcher that
 * watched it was killed. One that is being started is waited for. Rejects with the code ENOENT when there is none of this name.
 */
export async function attach(id: string): Promise<Contained> {
  const kept = await find(id);
  const ending = await Ending.of(kept).catch(() => { throw noSuchContainer(id, ''); });
  const { command } = kept.record;
  const words = { file: command[0]!, search: '', argv: command, env: kept.record.inheritance.env };
  const child = await new ContainedProcess(new Attached(kept, ending), words, LIFE, []).ready;
  // Or it could still be signalled, and not be removed.
  if (!lives(kept.first)) await child.exited.catch(() => {});
  return child;
}

/** Also where that is the doing of a group above it. */
function frozen(where: Placement | undefined): boolean {
  const read = (path: string): string => existsSync(path) ? readFileSync(path, 'utf8') : '';
  if (where?.unified) return read(`${where.unified.directory}/cgroup.events`).includes('frozen 1');
  const freezer = where?.v1.get('freezer');
  return freezer !== undefined && read(`${freezer}/freezer.state`).startsWith('FR');
}

function stateOf(kept: Kept): ContainerInfo['state'] {
  const { first, keeper, begun, outcome, record } = kept;
  if (outcome !== undefined) return isKnown(exitOf(outcome)) ? 'exited' : 'lost';
  if (!first) return isBeingMade(kept) ? 'starting' : 'lost';
  if (!lives(first)) return lives(keeper) ? 'exited' : 'lost';
  if (!begun && lives(keeper)) return 'starting';
  return frozen(placeOf(record)) ? 'paused' : 'running';
}

/** What is there of this user's, the oldest first, those that have ended and are kept among them. */
export async function containers(): Promise<readonly ContainerInfo[]> {
  return (await allKept()).map(kept => {
    const { id, created, command, labels, detached } = kept.record;
    const state = stateOf(kept);
    const exit = kept.outcome === undefined ? undefined : exitOf(kept.outcome);
    return {
      id, state, command, labels, detached, created: new Date(created),
      pid: state === 'running' || state === 'paused' ? kept.first!.pid : undefined,
      exitCode: exit?.code ?? null,
      signal: exit ? signalName(toldSignal(exit)) : null,
    };
  });
}
