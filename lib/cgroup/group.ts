// The handle of a group: what it does is in the files beside this one.
import { constants } from 'node:fs';
import { open, readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cgroup, CgroupEvent, CgroupLimits, CgroupStats, CgroupStatsStep, MoveResult, PressureTrigger } from '../../types/cgroup.js';
import type { Size } from '../../types/options.js';
import { ContainedError, errnoName, notSupported, OptionError } from '../errors.js';
import { controllersOf } from '../host/cgroups.js';
import { native } from '../native.js';
import { placement } from '../options/place.js';
import * as check from '../options/check.js';
import type { DeviceSetting, Placement } from '../options/settings.js';
import { CWD } from '../program/ops.js';
import * as actions from './actions.js';
import { eventsOf, pressureTrigger, pressureWatch } from './events.js';
import { perform } from './perform.js';
import { StatsReader, stepOf } from './stats.js';
import { update } from './update.js';

const numbers = (text: string): number[] => text.split('\n').filter(line => line !== '').map(Number);

function failed(error: unknown, step: string): ContainedError {
  const { code = 'UNKNOWN', errno = 0, syscall, path } = error as NodeJS.ErrnoException;
  return new ContainedError({
    code, errno, syscall, path, dest: undefined, step,
    hint: code === 'ENOENT' || code === 'ENODEV' ? 'somebody has removed the group' : /^E(OP)?NOTSUPP?$/.test(code) ? 'the group is threaded, so it has threads and no processes' : undefined,
  });
}

export class Group implements Cgroup {
  readonly name: string;
  readonly paths: Readonly<Record<string, string>>;
  readonly [placement]: Placement;
  readonly #stats: StatsReader;
  #devices: DeviceSetting | undefined;
  #turn: Promise<void> = Promise.resolve();

  constructor(where: Placement, devices?: DeviceSetting) {
    this[placement] = where;
    this.paths = { ...where.unified ? { unified: where.unified.directory } : {}, ...Object.fromEntries(where.v1) };
    this.name = basename(this.#directories()[0]!);
    this.#stats = new StatsReader(where);
    this.#devices = devices;
  }

  /** The v2 directory first; v1 controllers may share one. */
  #directories(): string[] {
    return [...new Set(Object.values(this.paths))];
  }

  update(limits: CgroupLimits): Promise<void> {
    return this.#inTurn(async () => { this.#devices = await update(this[placement], limits, this.#devices); });
  }

  stats(): Promise<CgroupStats>;
  stats(options: { interval: number; signal?: AbortSignal }): AsyncIterable<CgroupStatsStep>;
  stats(options?: { interval: number; signal?: AbortSignal }): Promise<CgroupStats> | AsyncIterable<CgroupStatsStep> {
    if (options === undefined) return this.#stats.read();
    check.knownKeys('', check.object('options', options), ['interval', 'signal']);
    return this.#steps(check.number('interval', options.interval, 1, 2 ** 31 - 1), check.optional(options.signal, v => check.abortSignal('signal', v), undefined));
  }

  async *#steps(interval: number, signal: AbortSignal | undefined): AsyncGenerator<CgroupStatsStep> {
    let before = await this.#stats.read();
    for (;;) {
      if (!await sleep(interval, true, signal ? { signal } : {}).catch(() => false)) return;
      const now = await this.#stats.read().catch((error: unknown) => {
        if (error instanceof ContainedError && /ENODEV|ENOENT/.test(error.code)) return undefined;
        throw error;
      });
      if (!now) return;
      yield stepOf(now, before);
      before = now;
    }
  }

  events(options: { signal?: AbortSignal } = {}): AsyncIterableIterator<CgroupEvent> {
    check.knownKeys('', check.object('options', options), ['signal']);
    return eventsOf(this[placement], check.optional(options.signal, v => check.abortSignal('signal', v), undefined));
  }

  async onPressure(trigger: PressureTrigger, listener: () => void): Promise<() => void> {
    const checked = pressureTrigger('', trigger);
    if (typeof listener !== 'function') throw new OptionError('listener', listener, 'a function', 'ERR_INVALID_ARG_TYPE');
    const { unified } = this[placement];
    if (!unified) throw notSupported(`watch the pressure of ${checked.resource}`, 'pressure is told by cgroup v2 only; events() has memoryPressure');
    const watch = pressureWatch(unified.directory, checked, listener);
    await watch.opened;
    watch.ref();
    return () => watch.close();
  }

  async processes({ recursive = false }: { recursive?: boolean } = {}): Promise<number[]> {
    return await this.#members('cgroup.procs', recursive);
  }

  async threads(): Promise<number[]> {
    return await this.#members(this[placement].unified ? 'cgroup.threads' : 'tasks', false);
  }

  async #members(file: string, recursive: boolean): Promise<number[]> {
    const step = `list what is in ${this.name}`;
    const first = this.#directories()[0]!;
    try {
      const directories = recursive ? await actions.depthFirst(first) : [first];
      const found = new Set<number>();
      for (const directory of directories) {
        const text = readFile(join(directory, file), 'utf8');
        // Those below come and go, and may be threaded.
        const list = directory === first ? await text : await actions.orGone(text.catch(actions.emptyWhenThreaded), '');
        for (const id of numbers(list)) found.add(id);
      }
      return [...found].sort((a, b) => a - b);
    } catch (error) {
      throw failed(error, step);
    }
  }

  move(pids: readonly number[]): Promise<MoveResult> {
    return this.#move('pids', pids, 'cgroup.procs', 'cgroup.procs');
  }

  moveThreads(tids: readonly number[]): Promise<MoveResult> {
    return this.#move('tids', tids, 'cgroup.threads', 'tasks');
  }

  async #move(what: string, ids: readonly number[], v2File: string, v1File: string): Promise<MoveResult> {
    const list = Int32Array.from(new Set(check.array(what, ids).map((id, i) => check.integer(`${what}[${i}]`, id, 1, 2 ** 22))));
    const errors = new Map<number, number>();
    const { unified, v1 } = this[placement];
    const files = new Map([...unified ? [[unified.directory, v2File] as const] : [], ...[...v1.values()].map(directory => [directory, v1File] as const)]);
    for (const [directory, file] of files) {
      const handle = await open(directory, constants.O_RDONLY | constants.O_DIRECTORY).catch((error: unknown) => { throw failed(error, `move into ${this.name}`); });
      try {
        // Who is refused by one hierarchy is not moved on those that follow.
        const left = list.filter(id => !errors.has(id));
        (await native().writeProcs(handle.fd, file, left)).forEach((errno, i) => {
          if (errno !== 0) errors.set(left[i]!, errno);
        });
      } finally {
        await handle.close();
      }
    }
    return { moved: list.length - errors.size, errors: [...errors].map(([pid, errno]) => ({ pid, code: errnoName(errno), errno: -errno })) };
  }

  freeze(): Promise<void> {
    return this.#inTurn(() => actions.freeze(this[placement]));
  }

  thaw(): Promise<void> {
    return this.#inTurn(() => actions.thaw(this[placement]));
  }

  /** What would undo each other comes one after the other. */
  async #inTurn(act: () => Promise<void>): Promise<void> {
    const before = this.#turn;
    const done = before.then(act, act);
    this.#turn = done.catch(() => {});
    await done;
  }

  kill(): Promise<void> {
    return actions.kill(this[placement]);
  }

  async reclaim(bytes: Size): Promise<boolean> {
    const text = String(check.size('bytes', bytes));
    const { unified } = this[placement];
    if (!unified?.controllers.includes('memory')) throw notSupported('take memory away', 'only cgroup v2 does so on demand, and this group has its memory not there');
    try {
      await perform([{ op: 'write', path: join(unified.directory, 'memory.reclaim'), text, at: CWD }]);
      return true;
    } catch (error) {
      // Kernel document admin-guide/cgroup-v2, memory.reclaim: less was taken away than was asked for.
      if (error instanceof ContainedError && error.code === 'EAGAIN') return false;
      throw error;
    }
  }

  async children(): Promise<Group[]> {
    const { unified, v1 } = this[placement];
    const namesIn = async (directory: string): Promise<string[]> =>
      (await readdir(directory, { withFileTypes: true }).catch((error: unknown) => { throw failed(error, `list the groups in ${this.name}`); }))
        .filter(entry => entry.isDirectory()).map(entry => entry.name);
    const inside = new Map(await Promise.all(this.#directories().map(async directory => [directory, new Set(await namesIn(directory))] as const)));
    const names = new Set([...inside.values()].flatMap(set => [...set]));
    return [...names].sort().map(name => {
      const has = (directory: string): boolean => inside.get(directory)!.has(name);
      const directory = unified && join(unified.directory, name);
      return new Group({
        unified: directory !== undefined && has(unified!.directory) ? { directory, controllers: controllersOf(directory) } : undefined,
        v1: new Map([...v1].filter(([, above]) => has(above)).map(([controller, above]) => [controller, join(above, name)])),
      });
    });
  }

  async *walk(): AsyncGenerator<Group> {
    yield* this.#walk(await this.children());
  }

  /** A group below that has gone meanwhile has nothing in it. */
  async *#walk(children: readonly Group[]): AsyncGenerator<Group> {
    yield this;
    for (const child of children) yield* child.#walk(await actions.orGone(child.children(), []));
  }

  async remove({ recursive = false }: { recursive?: boolean } = {}): Promise<void> {
    await actions.remove(this[placement], recursive);
    this.#stats.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await this.remove({ recursive: true });
  }
}
