#include "embedding.h"

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "operands.h"
#include "thread_pool.h"

namespace g4 {
namespace mx = mlx::core;
namespace {

/// Ids are compared as uint32, so that negative ones are beyond any table.
void gather(const Weight& table, uint32_t id, float scale, float* out) {
  if (int64_t(id) >= table.rows) {
    std::fill_n(out, table.columns, std::numeric_limits<float>::quiet_NaN());
    return;
  }
  kernels().unpack(table, id, 0, table.columns, out);
  if (scale == 1) return;
  for (int64_t k = 0; k < table.columns; k++) out[k] *= scale;
}

class Embedding : public RowPrimitive {
 public:
  Embedding(mx::Stream stream, Quantization quantization, float scale)
      : RowPrimitive(stream), quantization_(std::move(quantization)), scale_(scale) {}

  Work prepare(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    auto& out = outputs[0];
    allocate(out);
    size_t index = 1;
    const Weight table = take_weight(inputs, index, quantization_);
    const uint32_t* ids = inputs[0].data<uint32_t>();
    const int64_t count = int64_t(inputs[0].size());
    float* y = out.data<float>();
    return [=, scale = scale_] {
      parallel_rows(count, table.columns, [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; i++) {
          gather(table, ids[i], scale, y + i * table.columns);
        }
      });
    };
  }
  const char* name() const override { return "G4Embedding"; }

 private:
  Quantization quantization_;
  float scale_;
};

}  // namespace

mx::array embedding(
    const mx::array& ids, const Matrix& table, float scale, mx::StreamOrDevice device) {
  const auto stream = mx::to_stream(device, mx::Device::cpu);
  if (ids.dtype() != mx::int32 && ids.dtype() != mx::uint32) {
    throw std::invalid_argument("embedding: ids must be int32 or uint32");
  }
  table.check("embedding", 2);
  std::vector<mx::array> inputs{in_rows(ids, stream)};
  table.append_to(inputs, stream);
  mx::Shape shape = ids.shape();
  shape.push_back(int(table.columns()));
  return mx::array(
      std::move(shape), mx::float32,
      std::make_shared<Embedding>(stream, table.quantization, scale), std::move(inputs));
}

}  // namespace g4
