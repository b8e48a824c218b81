// The Python module. Its functions take and give mlx.core arrays.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include <limits>

#include "adapter.h"
#include "attention.h"
#include "audio_steps.h"
#include "cpu_features.h"
#include "elementwise.h"
#include "embedding.h"
#include "experts.h"
#include "kernels/kernels.h"
#include "linear.h"
#include "linears.h"
#include "mapped_file.h"
#include "mlx/memory.h"
#include "norm.h"
#include "product.h"
#include "recording.h"
#include "rotation.h"
#include "shared_sum.h"
#include "thread_pool.h"
#include "top_k.h"
#include "unstack.h"

namespace nb = nanobind;
namespace mx = mlx::core;
using namespace nb::literals;

namespace {

g4::Curve curve_named(const std::string& name) {
  constexpr std::pair<const char*, g4::Curve> curves[] = {
      {"exp", g4::Curve::exp},   {"tanh", g4::Curve::tanh}, {"sigmoid", g4::Curve::sigmoid},
      {"silu", g4::Curve::silu}, {"gelu", g4::Curve::gelu},
  };
  for (const auto& [known, curve] : curves) {
    if (name == known) return curve;
  }
  throw std::invalid_argument("unknown curve " + name);
}

/// A matrix: weight, scales, biases, mode, bits, group size.
using MatrixTuple = std::tuple<
    mx::array, std::optional<mx::array>, std::optional<mx::array>, std::string, int, int>;

g4::Matrix matrix_of(const MatrixTuple& parts) {
  const auto& [weight, scales, biases, mode, bits, group_size] = parts;
  return {weight, scales, biases, {mode, bits, group_size}};
}

/// What an adapter does: a, b, scale, share, bias; or None.
using AdapterTuple = std::tuple<
    std::optional<mx::array>, std::optional<mx::array>, float, std::optional<mx::array>,
    std::optional<mx::array>>;
using MaybeAdapter = std::optional<AdapterTuple>;

/// Several of them, and which one rows have.
using ChosenAdapters = std::tuple<std::vector<MaybeAdapter>, mx::array>;
using MaybeAdapters = std::optional<std::variant<AdapterTuple, ChosenAdapters>>;

g4::Adapter adapter_of(const MaybeAdapter& parts) {
  if (!parts) return {};
  const auto& [a, b, scale, share, bias] = *parts;
  return {a, b, scale, share, bias};
}

g4::Adapters adapters_of(const MaybeAdapters& parts) {
  if (!parts) return {};
  if (const auto* one = std::get_if<AdapterTuple>(&*parts)) return {{adapter_of(*one)}, {}};
  const auto& [several, chosen] = std::get<ChosenAdapters>(*parts);
  g4::Adapters result{{}, chosen};
  for (const auto& each : several) result.each.push_back(adapter_of(each));
  return result;
}

/// From a Visibility of gemma4cli.models.masks, or None.
g4::Visibility visibility_of(nb::handle rule) {
  if (rule.is_none()) return {};
  using Array = std::optional<mx::array>;
  return {
      .causal = nb::cast<bool>(rule.attr("causal")),
      .window = nb::cast<std::optional<int>>(rule.attr("window")).value_or(0),
      .blocks_beyond_window = nb::cast<bool>(rule.attr("blocks_beyond_window")),
      .blocks = nb::cast<Array>(rule.attr("block_numbers")),
      .padding = nb::cast<Array>(rule.attr("empty_keys")),
      .mask = std::nullopt,
  };
}

}  // namespace

NB_MODULE(_native, module) {
  // Arrays cross over only where both modules were built with the same ABI of nanobind.
  if (!nb::type<mx::array>().is_valid()) {
    throw nb::import_error("it was built with another version of nanobind than MLX");
  }
  module.attr("mlx_version") = G4_MLX_VERSION;
  module.attr("interface") = G4_INTERFACE;
  module.def("instruction_set", [] { return g4::kernels().name; });
  module.def("use_instruction_set", &g4::use_instruction_set, "name"_a);
  module.def("has_amx", &g4::has_amx);
  module.def("use_amx", &g4::use_amx, "use"_a);
  module.def("set_bf16_products", &g4::set_bf16_products, "rounded"_a);
  module.def("share_cores", &g4::share_cores, "processes"_a);
  module.def("threads", [] { return g4::ThreadPool::shared().size(); });

  nb::class_<g4::MappedFile>(module, "MappedFile")
      .def(
          "__init__",
          [](g4::MappedFile* self, const nb::bytes& path) {
            new (self) g4::MappedFile(std::string(path.c_str(), path.size()));
          },
          "path"_a)
      .def(
          "tensor",
          [](const g4::MappedFile& self, int64_t offset, const std::vector<int>& shape,
             mx::Dtype dtype) {
            return self.tensor(offset, mx::Shape(shape.begin(), shape.end()), dtype);
          },
          "offset"_a, "shape"_a, "dtype"_a);
  module.def(
      "in_large_pages", [](const mx::array& tensor) { return g4::in_large_pages(tensor); },
      "tensor"_a);

  module.def(
      "linear",
      [](const mx::array& x, const mx::array& weight, const std::optional<mx::array>& scales,
         const std::optional<mx::array>& biases, const std::string& mode, int bits, int group_size,
         const std::optional<mx::array>& clip, const MaybeAdapters& adapter) {
        return g4::linear(
            x, {weight, scales, biases, {mode, bits, group_size}}, {clip, adapters_of(adapter)});
      },
      "x"_a, "weight"_a, "scales"_a = nb::none(), "biases"_a = nb::none(), "mode"_a = "",
      "bits"_a = 0, "group_size"_a = 0, "clip"_a = nb::none(), "adapter"_a = nb::none());

  module.def(
      "linear_by_columns",
      [](const mx::array& x, const mx::array& weight, const std::optional<mx::array>& scales,
         const std::optional<mx::array>& biases, const std::string& mode, int bits,
         int group_size) {
        return g4::linear_by_columns(x, {weight, scales, biases, {mode, bits, group_size}});
      },
      "x"_a, "weight"_a, "scales"_a = nb::none(), "biases"_a = nb::none(), "mode"_a = "",
      "bits"_a = 0, "group_size"_a = 0);

  module.def(
      "embedding",
      [](const mx::array& ids, const mx::array& weight, const std::optional<mx::array>& scales,
         const std::optional<mx::array>& biases, const std::string& mode, int bits, int group_size,
         float scale) {
        return g4::embedding(ids, {weight, scales, biases, {mode, bits, group_size}}, scale);
      },
      "ids"_a, "weight"_a, "scales"_a = nb::none(), "biases"_a = nb::none(), "mode"_a = "",
      "bits"_a = 0, "group_size"_a = 0, "scale"_a = 1.0f);

  module.def(
      "linears",
      [](const mx::array& x, const std::vector<MatrixTuple>& matrices,
         const std::vector<MaybeAdapters>& adapters) {
        std::vector<g4::Layer> all;
        for (const auto& parts : matrices) all.push_back({matrix_of(parts), {}});
        if (!adapters.empty() && adapters.size() != all.size()) {
          throw std::invalid_argument("linears: there must be an adapter for each matrix, or none");
        }
        for (size_t i = 0; i < adapters.size(); i++) all[i].adapters = adapters_of(adapters[i]);
        return g4::linears(x, all);
      },
      "x"_a, "matrices"_a, "adapters"_a = nb::list());

  module.def(
      "gated",
      [](const mx::array& x, const MatrixTuple& gate, const MatrixTuple& up,
         const std::string& activation, const MaybeAdapters& gate_adapter,
         const MaybeAdapters& up_adapter) {
        return g4::gated(
            x, {matrix_of(gate), adapters_of(gate_adapter)},
            {matrix_of(up), adapters_of(up_adapter)}, curve_named(activation));
      },
      "x"_a, "gate"_a, "up"_a, "activation"_a = "gelu", "gate_adapter"_a = nb::none(),
      "up_adapter"_a = nb::none());

  module.def(
      "expert_linear",
      [](const mx::array& x, const mx::array& indices, const mx::array& weight,
         const std::optional<mx::array>& scales, const std::optional<mx::array>& biases,
         const std::string& mode, int bits, int group_size) {
        return g4::expert_linear(x, indices, {weight, scales, biases, {mode, bits, group_size}});
      },
      "x"_a, "indices"_a, "weight"_a, "scales"_a = nb::none(), "biases"_a = nb::none(),
      "mode"_a = "", "bits"_a = 0, "group_size"_a = 0);

  module.def(
      "top_k", [](const mx::array& x, int k) { return g4::top_k(x, k); }, "x"_a, "k"_a);

  module.def(
      "rms_norm",
      [](const mx::array& x, const std::optional<mx::array>& weight, float eps,
         const std::optional<mx::array>& residual, float scale, float bound) {
        return g4::rms_norm(x, weight, residual, {eps, scale, bound});
      },
      "x"_a, "weight"_a.none(), "eps"_a, "residual"_a = nb::none(), "scale"_a = 1.0f,
      "bound"_a = std::numeric_limits<float>::infinity());

  module.def(
      "layer_norm",
      [](const mx::array& x, const mx::array& weight, float eps, const std::optional<mx::array>& bias,
         float least) { return g4::layer_norm(x, weight, bias, eps, least); },
      "x"_a, "weight"_a, "eps"_a, "bias"_a = nb::none(),
      "least"_a = -std::numeric_limits<float>::infinity());

  module.def(
      "rotate",
      [](const mx::array& x, const std::optional<mx::array>& weight, std::optional<float> eps,
         const std::optional<mx::array>& cos_sin) { return g4::rotate(x, weight, eps, cos_sin); },
      "x"_a, "weight"_a = nb::none(), "eps"_a = nb::none(), "cos_sin"_a = nb::none());

  module.def(
      "rope_table",
      [](const mx::array& offsets, int length, const mx::array& frequencies) {
        return g4::rope_table(offsets, length, frequencies);
      },
      "offsets"_a, "length"_a, "frequencies"_a);

  module.def("unstack", [](const mx::array& x) { return g4::unstack(x); }, "x"_a);

  nb::class_<g4::SharedMemory>(module, "SharedMemory")
      .def_static("file_size", &g4::SharedMemory::bytes, "processes"_a)
      .def(
          "__init__",
          [](g4::SharedMemory* self, const nb::bytes& path, int rank, int size) {
            new (self) g4::SharedMemory(std::string(path.c_str(), path.size()), rank, size);
          },
          "path"_a, "rank"_a, "size"_a)
      .def(
          "sum", [](const g4::SharedMemory& self, const mx::array& x) { return self.sum(x); }, "x"_a)
      .def(
          "gather", [](const g4::SharedMemory& self, const mx::array& x) { return self.gather(x); },
          "x"_a);

  // MLX waits for the streams of all threads, which may need Python's lock to drop what they have.
  module.def("clear_cache", [] { mx::clear_cache(); }, nb::call_guard<nb::gil_scoped_release>());

  nb::class_<g4::Recording>(module, "Recording")
      .def(
          nb::init<const std::vector<mx::array>&, const std::vector<mx::array>&>(), "inputs"_a,
          "outputs"_a)
      .def(
          "__call__",
          [](const std::shared_ptr<g4::Recording>& recording,
             const std::vector<mx::array>& inputs) { return g4::Recording::replay(recording, inputs); },
          "inputs"_a);

  module.def(
      "attention",
      [](const mx::array& q, const g4::Rows& k, const g4::Rows& v, float scale, nb::object rule,
         const std::optional<mx::array>& mask) {
        g4::Visibility visibility = visibility_of(rule);
        visibility.mask = mask;
        return g4::attention(q, k, v, scale, visibility);
      },
      "q"_a, "k"_a, "v"_a, "scale"_a, "rule"_a.none() = nb::none(), "mask"_a = nb::none());

  module.def(
      "local_attention",
      [](const mx::array& q, const mx::array& k, const mx::array& v, const mx::array& relative,
         const mx::array& q_scale, float k_scale, float cap, int before, int after, int nearest,
         const std::optional<mx::array>& lengths) {
        return g4::local_attention(
            q, k, v, relative, q_scale, {k_scale, cap, before, after, nearest}, lengths);
      },
      "q"_a, "k"_a, "v"_a, "relative"_a, "q_scale"_a, nb::kw_only(), "k_scale"_a, "cap"_a,
      "before"_a, "after"_a, "nearest"_a, "lengths"_a = nb::none());
  module.def(
      "convolve",
      [](const mx::array& x, const mx::array& weight, const std::optional<mx::array>& ends) {
        return g4::convolve(x, weight, ends);
      },
      "x"_a, "weight"_a, "ends"_a = nb::none());
  module.def(
      "convolve_past",
      [](const mx::array& x, const mx::array& weight) { return g4::convolve_past(x, weight); },
      "x"_a, "weight"_a);

  module.def(
      "activate",
      [](const std::string& curve, const mx::array& x, const std::optional<mx::array>& factor) {
        return g4::activate(curve_named(curve), x, factor);
      },
      "curve"_a, "x"_a, "factor"_a = nb::none());
  module.def("glu", [](const mx::array& x) { return g4::glu(x); }, "x"_a);
  module.def(
      "softcap", [](const mx::array& x, float cap) { return g4::softcap(x, cap); }, "x"_a, "cap"_a);
}
