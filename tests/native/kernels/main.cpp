// Every kernel of every instruction set that this processor has, against double precision.
#include "checks.h"
#include "cpu_features.h"
#include "tests.h"

namespace g4::test {
namespace {

void test(const Kernels& set) {
  // A kernel without a test does not compile: the number of names must fit.
  const auto& [name, unpack, few_rows, many_rows, add_low_rank, many_rows_by_columns, select_above,
               rms_norm, rms_norm_back, layer_norm, rotate, attention, attention_back, merge,
               local_attention, convolve, convolve_past, activate, activate_back, softcap] = set;
  std::printf("%s\n", name);
  std::fflush(stdout);  // a kernel that touches a forbidden page ends the program
  test_unpack(set);
  test_few_rows(set);
  test_many_rows(many_rows);
  test_add_low_rank(set);
  test_many_rows_by_columns(many_rows_by_columns);
  test_select_above(set);
  test_rms_norm(set);
  test_rotate(set);
  test_attention(set);
  test_audio(set);
  test_activate(set);
  test_softcap(set);
  test_back(set);
}

}  // namespace
}  // namespace g4::test

int main() {
  int found = 0;
  for (const char* name : {"plain", "avx2", "avx512", "avx512-vnni", "neon"}) {
    if (const g4::Kernels* set = g4::kernels_named(name)) {
      g4::test::test(*set);
      found++;
    }
  }
#if defined(G4_HAS_AMX)
  if (g4::has_amx()) {
    std::printf("amx\n");
    g4::test::test_together(g4::amx_few_rows);
    g4::test::test_many_rows(g4::amx_many_rows);
    g4::test::test_many_rows(g4::amx_rounded_many_rows, 3e-2);
    found++;
  }
#endif
  std::printf("%d instruction sets, %d failures\n", found, g4::test::failures);
  return g4::test::failures != 0;
}
