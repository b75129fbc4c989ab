import type { Op } from '../lib/program/ops.js';

export type { Op } from '../lib/program/ops.js';

/** What would be done, op by op: the answer of `explain`. `String(program)` is readable. */
export interface Program {
  /** CLONE_NEW* flags of the contained process: clone(2). */
  readonly clone: number;
  /** The same for the intermediate process that enters existing namespaces; it is there when `join` is not empty. */
  readonly joinClone: number;
  /** Slot of the cgroup v2 directory that the process is born into (CLONE_INTO_CGROUP), or −1. */
  readonly cgroupSlot: number;
  /** Whether it goes on when Node ends. */
  readonly detached: boolean;
  /** By the launcher before the clone. */
  readonly host: readonly Op[];
  /** By the intermediate process. */
  readonly join: readonly Op[];
  /** By the launcher after the clone: `go` is what a `wait` of the process waits for. The last of these needs no `go`. */
  readonly release: readonly Op[];
  /** By the contained process, up to execve. */
  readonly child: readonly Op[];
  /** By the launcher when the container has ended. */
  readonly undo: readonly Op[];
  toString(): string;
}
