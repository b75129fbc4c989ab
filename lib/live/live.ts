// What can be asked of a container while it runs; each question is answered in a file beside this one.
import type { CgroupLimits, PressureTrigger } from '../../types/cgroup.js';
import type { Outcome } from '../../types/contained.js';
import type { ContainedEvent, ContainedEventsOptions, ContainedProcessInfo, Inspection, Stats, StatsStep } from '../../types/live.js';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventsOf as groupEvents, pressureTrigger } from '../cgroup/events.js';
import { Group } from '../cgroup/group.js';
import { StatsReader } from '../cgroup/stats.js';
import * as check from '../options/check.js';
import { eventsOf, type Source } from './events.js';
import { endedInspection, inspect } from './inspect.js';
import { parseStat, textsOf } from './proc.js';
import { processesOf } from './processes.js';
import { statsOf, stepOf } from './stats.js';
import { hasEnded, noOwnGroup, ownGroup, type Subject } from './subject.js';

const SIGKILL = 9;

/** Whom a handle asks about. */
export interface Asked {
  /** Undefined until it is there. */
  subject(): Subject | undefined;
  /** Rejects when it could not be started. */
  ready(): Promise<unknown>;
  exited(): Promise<Outcome>;
}

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? '';

export class Live {
  /** What this handle has done last. */
  paused = false;
  readonly #asked: Asked;
  readonly #over = new AbortController();
  /** Asked for, whether or not it stands still by now. */
  #pausing = false;
  #group: Group | undefined;
  #reader: StatsReader | undefined;

  constructor(asked: Asked, ended: boolean) {
    this.#asked = asked;
    if (ended) this.end();
  }

  /** It has ended: nothing can be asked any more. */
  end(): void {
    this.paused = false;
    this.#over.abort();
    this.#reader?.close();
  }

  get #ended(): boolean {
    return this.#over.signal.aborted;
  }

  /** Whatever fails because the container is gone is told as that. */
  async #ask<T>(step: string, question: (subject: Subject) => Promise<T>): Promise<T> {
    if (!this.#asked.subject()) await this.#asked.ready();
    const subject = this.#asked.subject()!;
    if (this.#ended) throw hasEnded(step);
    try {
      return await question(subject);
    } catch (error) {
      if (/^(ENOENT|ENODEV|ESRCH)$/.test(codeOf(error)) && (this.#ended || await isDead(subject))) throw hasEnded(step);
      throw error;
    }
  }

  #ownGroup(subject: Subject, step: string): Group {
    const where = ownGroup(subject);
    if (!where) throw noOwnGroup(subject, step);
    this.#group ??= new Group(where, subject.devices);
    return this.#group;
  }

  pause(): Promise<void> {
    const step = 'pause the container';
    return this.#ask(step, async subject => {
      const group = this.#ownGroup(subject, step);
      this.#pausing = true;
      try {
        await group.freeze();
      } catch (error) {
        // Half of it would stand still.
        if (codeOf(error) === 'ETIMEDOUT') await group.thaw().catch(() => {});
        throw error;
      }
      this.paused = this.#pausing && !this.#ended;
    });
  }

  resume(): Promise<void> {
    const step = 'resume the container';
    return this.#ask(step, async subject => {
      const group = this.#ownGroup(subject, step);
      this.#pausing = false;
      await group.thaw();
      this.paused = false;
    });
  }

  /**
   * After a signal that is to end it: who stands still takes none. Only SIGKILL is taken on v2: kernel document
   * admin-guide/cgroup-v2, cgroup.freeze.
   */
  letEnd(signal: number): void {
    const subject = this.#asked.subject();
    if (!this.#pausing || !subject || (signal === SIGKILL && subject.where?.unified)) return;
    this.resume().catch(() => {});
  }

  update(limits: CgroupLimits): Promise<void> {
    const step = 'change the limits of the container';
    return this.#ask(step, subject => this.#ownGroup(subject, step).update(limits));
  }

  #stats(): Promise<Stats> {
    return this.#ask('read what the container uses', subject => {
      const where = ownGroup(subject);
      if (where) this.#reader ??= new StatsReader(where);
      return statsOf(subject, this.#reader);
    });
  }

  stats(): Promise<Stats>;
  stats(options: { interval: number; signal?: AbortSignal }): AsyncIterable<StatsStep>;
  stats(options?: { interval: number; signal?: AbortSignal }): Promise<Stats> | AsyncIterable<StatsStep> {
    if (options === undefined) return this.#stats();
    check.knownKeys('', check.object('options', options), ['interval', 'signal']);
    const signal = check.optional(options.signal, v => check.abortSignal('signal', v), undefined);
    return this.#steps(check.number('interval', options.interval, 1, 2 ** 31 - 1), AbortSignal.any([this.#over.signal, ...signal ? [signal] : []]));
  }

  async *#steps(interval: number, signal: AbortSignal): AsyncGenerator<StatsStep> {
    const next = (): Promise<Stats | undefined> => this.#stats().catch((error: unknown) => {
      if (codeOf(error) === 'ESRCH') return undefined;
      throw error;
    });
    let before = await next();
    while (before && await sleep(interval, true, { signal }).catch(() => false)) {
      const now = await next();
      if (!now) return;
      yield stepOf(now, before);
      before = now;
    }
  }

  events(options: ContainedEventsOptions = {}): AsyncIterable<ContainedEvent> {
    check.knownKeys('', check.object('options', options), ['signal', 'pressure']);
    const signal = check.optional(options.signal, v => check.abortSignal('signal', v), undefined);
    const pressure = check.optional(options.pressure, v => check.array('pressure', v), []).map((trigger, i) => pressureTrigger(`pressure[${i}].`, trigger as PressureTrigger));
    const stop = new AbortController();
    const open = (): Source => {
      const where = this.#ended ? undefined : ownGroup(this.#asked.subject()!);
      if (pressure.length > 0 && !this.#ended && !where?.unified) throw noOwnGroup(this.#asked.subject()!, 'watch the pressure in the container');
      return where && groupEvents(where, stop.signal, pressure);
    };
    // From now on, and not from when the loop begins.
    const source = this.#asked.subject() ? open() : this.#asked.ready().then(open);
    if (source instanceof Promise) source.catch(() => {});
    return eventsOf(source, this.#asked.exited(), stop, signal);
  }

  processes(): Promise<readonly ContainedProcessInfo[]> {
    return this.#ask('list the processes of the container', processesOf);
  }

  async inspect(): Promise<Inspection> {
    if (!this.#asked.subject()) await this.#asked.ready();
    const subject = this.#asked.subject()!;
    if (this.#ended) return endedInspection(subject);
    return await this.#ask('inspect the container', inspect).catch((error: unknown) => {
      if (codeOf(error) === 'ESRCH') return endedInspection(subject);
      throw error;
    });
  }
}

/** Until the handle is told of the end its first process is a zombie, so that nobody else has its pid. */
async function isDead({ pid }: Subject): Promise<boolean> {
  const [stat] = await textsOf([`/proc/${pid}/stat`]);
  return /^[ZX]$/i.test(parseStat(stat)?.state ?? 'Z');
}
