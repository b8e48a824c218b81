// One instruction set's kernels; compiled once per set, see kernels.cmake.
#include "few_rows.h"
#include "kernels.h"
#include "low_rank.h"
#include "many_rows.h"
#include "steps.h"
#include "select.h"
#include "unpack.h"

#define G4_TEXT_OF(name) #name
#define G4_TEXT(name) G4_TEXT_OF(name)

namespace g4::G4_SET {

extern const Kernels table;
const Kernels table = {
    .name = G4_TEXT(G4_SET),
    .unpack = unpack,
    .few_rows = {prepared_size, prepare, few_rows},
    .many_rows = many_rows,
    .add_low_rank = add_low_rank,
    .many_rows_by_columns = many_rows_by_columns,
    .select_above = select_above,
    .rms_norm = rms_norm,
    .rms_norm_back = rms_norm_back,
    .layer_norm = layer_norm,
    .rotate = rotate,
    .attention = attention,
    .attention_back = attention_back,
    .merge = merge,
    .local_attention = local_attention,
    .convolve = convolve,
    .convolve_past = convolve_past,
    .activate = activate,
    .activate_back = activate_back,
    .softcap = softcap,
};

}  // namespace g4::G4_SET
