// Whom is asked about: plain data of a container, or of a command in one, whoever has started it.
import type { NamespaceKind } from '../../types/options.js';
import { ContainedError } from '../errors.js';
import type { DeviceSetting, Placement } from '../options/settings.js';

export interface Subject {
  readonly id: string | undefined;
  /** Of the first process, on the host. */
  readonly pid: number;
  /** Its group. */
  readonly where: Placement | undefined;
  /** Whether nobody else is in that group. */
  readonly alone: boolean;
  /** The device filter that the group was made with. */
  readonly devices: DeviceSetting | undefined;
  /** The namespaces that were made for it; undefined where that is not known. */
  readonly create: ReadonlySet<NamespaceKind> | undefined;
  /** Whether the first process is the reaper of `init: true`, which runs the command. */
  readonly init: boolean;
  readonly command: readonly string[];
  /** `NAME=value`. */
  readonly env: readonly string[];
  readonly cwd: string | undefined;
  readonly hostname: string | undefined;
}

/** The group of which all that it tells is of this container. */
export const ownGroup = ({ where, alone }: Subject): Placement | undefined => alone ? where : undefined;

const failure = (code: string, errno: number, step: string, hint: string): ContainedError =>
  new ContainedError({ code, errno, syscall: undefined, path: undefined, dest: undefined, step, hint });

export const hasEnded = (step: string): ContainedError => failure('ESRCH', -3, step, 'the container has ended');

export const noOwnGroup = ({ where }: Subject, step: string): ContainedError => failure('ENOTSUP', 0, step, where
  ? 'others may be in its group, who would be concerned too: ask the group, or give the container one of its own in it, `cgroup: { parent: group }`'
  : 'it has no group of its own: give `cgroup: {}`');
