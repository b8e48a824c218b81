# The kernels, once for each instruction set of the processor that is built for.
#
# They need neither MLX nor Python, so a cross compiler can build and test them alone.
include(CheckCXXCompilerFlag)

set(kernel_sets plain)
set(flags_plain "")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  list(APPEND kernel_sets avx2 avx512)
  set(flags_avx2 -mavx2 -mfma -mf16c)
  set(flags_avx512
      -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512cd
      -mprefer-vector-width=512)
  set(flags_amx ${flags_avx512} -mavx512bf16 -mamx-tile -mamx-bf16 -mamx-int8)
  check_cxx_compiler_flag("-mavx512bf16 -mamx-tile -mamx-bf16 -mamx-int8" compiler_has_amx)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  list(APPEND kernel_sets neon)
  set(flags_neon "")
endif()

set(flags_all -O3 -ffp-contract=fast -fno-math-errno -fno-trapping-math)
# GCC takes the undefined lanes of its own intrinsics for a mistake.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  list(APPEND flags_all -Wno-uninitialized -Wno-maybe-uninitialized)
endif()

add_library(g4_kernels STATIC)
target_include_directories(g4_kernels PUBLIC "${CMAKE_CURRENT_LIST_DIR}/..")
foreach(set ${kernel_sets})
  add_library(
    g4_kernels_${set} OBJECT
    "${CMAKE_CURRENT_LIST_DIR}/kernel_set.cpp" "${CMAKE_CURRENT_LIST_DIR}/steps.cpp")
  target_compile_definitions(g4_kernels_${set} PRIVATE G4_SET=${set} G4_SET_${set}=1)
  target_compile_options(g4_kernels_${set} PRIVATE ${flags_${set}} ${flags_all})
  target_sources(g4_kernels PRIVATE $<TARGET_OBJECTS:g4_kernels_${set}>)
  string(TOUPPER ${set} upper)
  target_compile_definitions(g4_kernels PUBLIC G4_HAS_${upper}=1)
endforeach()

if(compiler_has_amx)
  add_library(
    g4_kernels_amx OBJECT
    "${CMAKE_CURRENT_LIST_DIR}/few_rows_amx.cpp" "${CMAKE_CURRENT_LIST_DIR}/many_rows_amx.cpp")
  target_compile_definitions(g4_kernels_amx PRIVATE G4_SET=amx G4_SET_avx512=1 G4_HAS_AMX=1)
  target_compile_options(g4_kernels_amx PRIVATE ${flags_amx} ${flags_all})
  target_sources(g4_kernels PRIVATE $<TARGET_OBJECTS:g4_kernels_amx>)
  target_compile_definitions(g4_kernels PUBLIC G4_HAS_AMX=1)
endif()

if("avx512" IN_LIST kernel_sets)
  add_library(g4_kernels_vnni OBJECT "${CMAKE_CURRENT_LIST_DIR}/few_rows_vnni.cpp")
  target_compile_definitions(g4_kernels_vnni PRIVATE G4_SET=vnni G4_SET_avx512=1)
  target_compile_options(
    g4_kernels_vnni PRIVATE ${flags_avx512} -mavx512vnni ${flags_all})
  target_sources(g4_kernels PRIVATE $<TARGET_OBJECTS:g4_kernels_vnni>)
endif()
