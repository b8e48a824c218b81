#include "cpu_features.h"

#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <set>
#include <stdexcept>
#include <string>

#include "kernels/kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
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

int cores_of_mask() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof mask, &mask) != 0) {
    return std::max(1L, sysconf(_SC_NPROCESSORS_ONLN));
  }
  std::set<std::string> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (CPU_ISSET(cpu, &mask)) cores.insert(core_of(cpu));
  }
  return std::max<int>(1, cores.size());
}

/// Cores of a quota "microseconds period", rounded up; 0 for none.
int cores_of_quota(long quota, long period) {
  return quota > 0 && period > 0 ? int((quota + period - 1) / period) : 0;
}

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
__attribute__((target("amx-tile,amx-bf16"))) void use_tiles() {
  struct alignas(64) {
    uint8_t palette, start, reserved[14];
    uint16_t columns[16];
    uint8_t rows[16];
  } config;
  std::memset(&config, 0, sizeof config);
  config.palette = 1;
  for (int i = 0; i < 8; i++) {
    config.columns[i] = 64;
    config.rows[i] = 16;
  }
  // GCC's intrinsic says that it reads eight bytes; the rest must be written before, too.
  __asm__ volatile("" : : "r"(&config) : "memory");
  _tile_loadconfig(&config);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_dpbf16ps(0, 1, 2);
  _tile_release();
}

bool probe_amx() {
  if (!__builtin_cpu_supports("avx512f")) return false;
  unsigned a = 0, b = 0, c = 0, d = 0;
  __asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(7), "c"(0));
  constexpr unsigned bf16 = 1u << 22, tile = 1u << 24;
  if ((d & bf16) == 0 || (d & tile) == 0) return false;
  constexpr long request_permission = 0x1023, tile_data = 18;
  if (syscall(SYS_arch_prctl, request_permission, tile_data) != 0) return false;
  const pid_t child = fork();
  if (child == 0) {
    use_tiles();
    _exit(0);
  }
  int status = 1;
  return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}
#else
bool probe_amx() { return false; }
#endif

bool processor_has(const char* set) {
#if defined(__x86_64__)
  if (std::strcmp(set, "avx512") == 0) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("fma");
  }
  if (std::strcmp(set, "avx2") == 0) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  }
#endif
  return std::strcmp(set, "plain") == 0 || std::strcmp(set, "neon") == 0;
}

}  // namespace

#if defined(G4_HAS_AVX512)
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

/// All sets of this build, best first.
constexpr const Kernels* sets[] = {
#if defined(G4_HAS_AVX512)
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
