// A program that is run many times: checked, compiled and encoded once. Runs differ in the command and in the number at
// the end of their cgroup's name.
import type { Program } from '../../types/program.js';
import { ContainedError } from '../errors.js';
import { groupName, groupNumber } from '../host/cgroups.js';
import { forgetOwn } from '../registry/records.js';
import { isKnown, unknownEnd } from '../registry/outcome.js';
import { launch, type LaunchListener } from '../launch.js';
import type { Origin } from './origin.js';
import type { Subject } from '../live/subject.js';
import type { Inheritance, Placement, Settings } from '../options/settings.js';
import { bareProgram } from '../program/compile.js';
import { heldFds } from '../program/namespaces.js';
import { inheritanceOf } from '../program/record.js';
import { assemble, encode, type Command, type Fault, type Image } from '../program/encode.js';

/** Every place of `name` in the bytes. */
function placesOf(name: string, bytes: Buffer): number[] {
  const places: number[] = [];
  for (let at = bytes.indexOf(name, 0, 'latin1'); at >= 0; at = bytes.indexOf(name, at + 1, 'latin1')) places.push(at);
  return places;
}

/** Of a program that only clones and executes. */
export type BareSettings = Pick<Settings, 'cgroup' | 'impossible'>;

const NO_COMMAND: Command = { file: '', search: '', argv: [], env: [] };

let runs = 0;

export class Template {
  readonly settings: Settings | BareSettings;
  readonly #compiled: (command: Command) => Program;
  readonly #image: Image;
  readonly #name = groupName();
  #number = groupNumber(0);
  readonly #numbersInHead: readonly number[];
  readonly #numbersInUndo: readonly number[];

  /** `only`: where what is kept of the run tells its command, so that this serves no other. */
  constructor(settings: Template['settings'], compiled: (command: Command) => Program, only = NO_COMMAND) {
    this.settings = settings;
    this.#compiled = compiled;
    this.#image = encode(compiled(only));
    const digits = this.#name.length - groupNumber(0).length;
    this.#numbersInHead = placesOf(this.#name, this.#image.head).map(at => at + digits);
    this.#numbersInUndo = placesOf(this.#name, this.#image.undo).map(at => at + digits);
  }

  /** What is sent along after the streams: namespaces that are entered. Borrowed, see `launch`. Throws when they are gone. */
  get #fds(): readonly number[] {
    if (!('namespaces' in this.settings)) return [];
    const fds = heldFds(this.settings.namespaces);
    if (fds.includes(-1)) throw new ContainedError({ code: 'ESRCH', errno: -3, syscall: undefined, path: undefined, dest: undefined, step: 'enter the namespaces', hint: 'they have been removed' });
    return fds.map(fd => ~fd);
  }

  /** A number for a run; what it makes has it in its name. */
  nextRun(): number {
    return ++runs;
  }

  get id(): string | undefined {
    return this.#registration?.id;
  }

  get detached(): boolean {
    return this.#registration?.detached ?? false;
  }

  get directory(): string | undefined {
    return this.#registration?.directory;
  }

  get logged(): boolean {
    return this.#registration?.logSize !== undefined;
  }

  get finish(): Origin['finish'] {
    const { id = '', detached } = this;
    return detached ? async exit => {
      if (exit.errno === 0 && !isKnown(exit)) throw unknownEnd(id);
      return exit;
    } : undefined;
  }

  async takeAway(): Promise<void> {
    if (this.#registration) await forgetOwn(this.#registration);
  }

  get #registration(): Settings['registration'] {
    return 'registration' in this.settings ? this.settings.registration : undefined;
  }

  begin(run: number, command: Command, trace: boolean, fds: readonly number[], listener: LaunchListener, fault?: Fault): number {
    this.#setNumber(groupNumber(run));
    const { buffer, size } = assemble(this.#image, command, trace, fault);
    const held = this.#fds;
    return launch(buffer, size, held.length === 0 ? fds : [...fds, ...held], listener);
  }

  inheritance(command: Command): Inheritance | undefined {
    return 'namespaces' in this.settings ? inheritanceOf(this.settings, command) : undefined;
  }

  /** Puts the run's number into every group's name: the digits that differ from the last run's, mostly one. */
  #setNumber(number: string): void {
    for (let i = 0; i < number.length; ++i) {
      if (number[i] === this.#number[i]) continue;
      const digit = number.charCodeAt(i);
      for (const at of this.#numbersInHead) this.#image.head[at + i] = digit;
      for (const at of this.#numbersInUndo) this.#image.undo[at + i] = digit;
    }
    this.#number = number;
  }

  /** The directories of one run, by hierarchy. */
  directories(run: number): Record<string, string> {
    const cgroup = this.settings.cgroup;
    const numbered = (path: string): string => path.replace(this.#name, this.#numbered(run));
    return {
      ...cgroup?.unified !== undefined ? { unified: numbered(cgroup.unified) } : {},
      ...Object.fromEntries(cgroup?.v1.map(({ controller, directory }) => [controller, numbered(directory)]) ?? []),
    };
  }

  about(run: number): Omit<Subject, 'pid' | 'command' | 'env'> {
    const { cgroup } = this.settings;
    const { namespaces, init = false, cwd, hostname } = this.settings as Partial<Settings>;
    return { id: this.id, where: this.#place(run), alone: cgroup?.made ?? false, devices: cgroup?.devices?.setting, create: namespaces?.create, init, cwd, hostname };
  }

  #place(run: number): Placement | undefined {
    const where = this.settings.cgroup?.where;
    const numbered = (path: string): string => path.replace(this.#name, this.#numbered(run));
    return where && {
      unified: where.unified && { ...where.unified, directory: numbered(where.unified.directory) },
      v1: new Map([...where.v1].map(([controller, directory]) => [controller, numbered(directory)])),
    };
  }

  /** A file of one of them. */
  fileOf(run: number, path: string): string {
    return path.replace(this.#name, this.#numbered(run));
  }

  /** The program of one run, for errors and traces. */
  program(command: Command, run: number): Program {
    const program = this.#compiled(command);
    const rename = (_key: string, value: unknown): unknown => typeof value === 'string' ? value.replace(this.#name, this.#numbered(run)) : value;
    return JSON.parse(JSON.stringify(program, rename)) as Program;
  }

  #numbered(run: number): string {
    const number = groupNumber(run);
    return this.#name.slice(0, -number.length) + number;
  }
}

/** One of which every run fails with that error. */
export const impossibleTemplate = (impossible: ContainedError, streams: number): Template =>
  new Template({ cgroup: undefined, impossible }, command => bareProgram(0, streams, command));

/** A program that only clones and executes: what is left of one without any setting. */
export function bareTemplate(flags: number, streams: number): Template {
  return new Template({ cgroup: undefined, impossible: undefined }, command => bareProgram(flags, streams, command));
}
