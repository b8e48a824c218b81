#include "cpu_features.h"

#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>
#include <stdexcept>
#include <string>

#include "kernels/kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace g4 {
namespace {

/// The physical core of a hardware thread, or the thread itself where the system does not say.
std::string core_of(int cpu) {
  std::ifstream file(
      "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list");
  std::string siblings;
  return std::getline(file, siblings) ? siblings : std::to_string(cpu);
}

/// Cores of the affinity mask; all that are online if there are more than a mask has room for.
int cores_of_mask() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof mask, &mask) != 0) {
    return int(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
  }
  std::set<std::string> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (CPU_ISSET(cpu, &mask)) cores.insert(core_of(cpu));
  }
  return std::max(1, int(cores.size()));
}

/// Cores of a quota "microseconds period", rounded up; 0 for none.
int cores_of_quota(long quota, long period) {
  return quota > 0 && period > 0 ? int((quota + period - 1) / period) : 0;
}

/// The quota of the control group that a container sees as its root; 0 for none.
int cores_of_group() {
  std::ifstream current("/sys/fs/cgroup/cpu.max");
  std::string quota;
  long period = 0;
  if (current >> quota >> period) {
    return quota == "max" ? 0 : cores_of_quota(std::strtol(quota.c_str(), nullptr, 10), period);
  }
  std::ifstream old_quota("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
  std::ifstream old_period("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  long microseconds = 0;
  return old_quota >> microseconds && old_period >> period ? cores_of_quota(microseconds, period)
                                                           : 0;
}

#if defined(__x86_64__)
/// Whether the processor converts half floats; Clang's own list of features lacks them.
bool has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

/// Whether the processor has all that kernels.cmake lets the compiler use for a set.
bool processor_has(const char* set) {
  if (std::strcmp(set, "plain") == 0) return true;
  const bool avx2 =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
  if (std::strcmp(set, "avx2") == 0) return avx2;
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd");
  if (std::strcmp(set, "avx512") == 0) return avx512;
  return std::strcmp(set, "avx512-vnni") == 0 && avx512 && __builtin_cpu_supports("avx512vnni");
}
#else
/// All processors that a build is for have its sets.
bool processor_has(const char*) { return true; }
#endif

#if defined(G4_HAS_AMX)
/// Whether a child process gets through AMX's instructions.
bool survives_amx() {
  const pid_t child = fork();
  if (child == 0) {
    // A trap ends the child at once, without a handler of the program or a dump of its memory.
    for (int trap : {SIGILL, SIGSEGV, SIGBUS}) std::signal(trap, [](int) { _exit(1); });
    try_amx();
    _exit(0);
  }
  if (child < 0) return false;
  int status = 1;
  pid_t ended;
  do {
    ended = waitpid(child, &status, 0);
  } while (ended < 0 && errno == EINTR);
  return ended == child && status == 0;
}

bool probe_amx() {
  if (!processor_has("avx512") || !__builtin_cpu_supports("avx512bf16")) return false;
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned bf16 = 1u << 22, tile = 1u << 24, int8 = 1u << 25, all = bf16 | tile | int8;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & all) != all) return false;
  constexpr long request_permission = 0x1023, tile_data = 18;
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0 && survives_amx();
}
#else
bool probe_amx() { return false; }
#endif

}  // namespace

#if defined(G4_HAS_AVX512)
namespace vnni { extern const FewRows table; }
namespace avx512 { extern const Kernels table; }
#endif
#if defined(G4_HAS_AVX2)
namespace avx2 { extern const Kernels table; }
#endif
#if defined(G4_HAS_NEON)
namespace neon { extern const Kernels table; }
#endif
namespace plain { extern const Kernels table; }

namespace {

#if defined(G4_HAS_AVX512)
/// Put together here: code of its own file may not run before the processor has been asked.
const Kernels avx512_vnni = [] {
  Kernels set = avx512::table;
  set.name = "avx512-vnni";
  set.few_rows = vnni::table;
  return set;
}();
#endif

/// All sets of this build, best first.
constexpr const Kernels* sets[] = {
#if defined(G4_HAS_AVX512)
    &avx512_vnni,
    &avx512::table,
#endif
#if defined(G4_HAS_AVX2)
    &avx2::table,
#endif
#if defined(G4_HAS_NEON)
    &neon::table,
#endif
    &plain::table,
};

}  // namespace

int usable_cores() {
  const int cores = cores_of_mask(), quota = cores_of_group();
  return quota > 0 ? std::min(cores, quota) : cores;
}

bool has_amx() {
  static const bool works = probe_amx();
  return works;
}

const Kernels* kernels_named(const char* name) {
  for (const Kernels* set : sets) {
    if (std::strcmp(set->name, name) == 0 && processor_has(name)) return set;
  }
  return nullptr;
}

namespace {

const Kernels* best_set() {
  for (const Kernels* set : sets) {
    if (processor_has(set->name)) return set;
  }
  return &plain::table;
}

std::atomic<const Kernels*>& set_in_use() {
  static std::atomic<const Kernels*> set{best_set()};
  return set;
}

}  // namespace

const Kernels& kernels() { return *set_in_use(); }

void use_instruction_set(const char* name) {
  const Kernels* set = kernels_named(name);
  if (!set) {
    throw std::invalid_argument("the instruction set " + std::string(name) + " is not available");
  }
  set_in_use() = set;
}

}  // namespace g4
