import type { CgroupLimits } from './cgroup.js';
import type { SpawnOptions } from './options.js';

/**
 * Options of `Contained.exec`: those of `spawnContained` that a single command can have. What is not given is as the container
 * was started with: user, groups, capabilities, rlimits, umask, working directory and environment.
 */
export interface ExecOptions extends Pick<SpawnOptions,
  'argv0' | 'cwd' | 'user' | 'umask' | 'rlimits' | 'oomScoreAdj' | 'nice' | 'cpuAffinity' | 'capabilities' | 'noNewPrivileges'
  | 'stdio' | 'tty' | 'timeout' | 'cpuTimeout' | 'maxOutput' | 'signal' | 'killSignal' | 'killGrace' | 'trace'> {
  /**
   * Added to the environment that the container was started with, of which `undefined` takes a variable away; `'inherit'` hands
   * on Node's in its place.
   */
  env?: Readonly<Record<string, string | undefined>> | 'inherit';
  /**
   * Limits of this command and of what it starts, within those of the container: it has a group of its own below the
   * container's. On cgroup v2 the first command with limits moves the container's other processes into a group `main` beside it
   * (kernel document cgroup-v2, "No Internal Process Constraint"). Default: none of its own. In a group that the container
   * shares with others nobody is moved: there limits are refused (`ENOTSUP`) where the group does not hand its controllers on.
   * While it is set up the command is two processes: `pids.max` must be 2 at least.
   */
  cgroup?: CgroupLimits;
}
