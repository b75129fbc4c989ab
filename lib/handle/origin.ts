// What a handle is made from.
import type { Program } from '../../types/program.js';
import type { LaunchListener } from '../launch.js';
import type { Subject } from '../live/subject.js';
import type { NativeExit } from '../native.js';
import type { Inheritance, Settings } from '../options/settings.js';
import type { Command, Fault } from '../program/encode.js';

/** Where a container comes from: a template that is launched, or another process that has launched it. */
export interface Origin {
  readonly settings: Pick<Settings, 'cgroup' | 'impossible'>;
  /** Its name, for other processes. */
  readonly id: string | undefined;
  readonly detached: boolean;
  /** Where what is known of it is kept. */
  readonly directory: string | undefined;
  /** Whether that is also what it writes. */
  readonly logged: boolean;
  /** When it was started, if not now. */
  readonly created?: Date;
  /** Milliseconds from then to its end, where that is known better than by being told now. */
  readonly lasted?: number | undefined;
  /** Whether it has ended, where that is known before the handle is told. */
  isOver?(): Promise<boolean>;
  /** Removes what is kept of it when it has ended. */
  takeAway(): Promise<void>;
  nextRun(): number;
  /** Returns the container's number with the launcher. `fds` are owned by whoever gets them, see `launch`. */
  begin(run: number, command: Command, trace: boolean, fds: readonly number[], listener: LaunchListener, fault?: Fault): number;
  /** How it has ended, where the launcher cannot tell. */
  readonly finish?: ((exit: NativeExit) => Promise<NativeExit>) | undefined;
  directories(run: number): Record<string, string>;
  /** A file of one of them, by the name that it has in the settings. */
  fileOf(run: number, path: string): string;
  /** What those who ask about it must know. */
  about(run: number): Omit<Subject, 'pid' | 'command' | 'env'>;
  /** What commands that come later have from it; undefined where there can be none. */
  inheritance(command: Command): Inheritance | undefined;
  program(command: Command, run: number): Program;
}
