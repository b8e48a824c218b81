#include "experts.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <stdexcept>
#include <vector>

#include "few_products.h"
#include "operands.h"
#include "product.h"
#include "thread_pool.h"

namespace g4 {
namespace mx = mlx::core;
namespace {

/// All products of a call, one for each index: which row of input makes which row of output.
struct Pairs {
  const float* x;
  int64_t indices_per_row;  // that share a row of input
  float* y;
  Weight weight;            // of the first expert
  bool by_columns = false;  // products with the matrices as they are, not transposed

  int64_t width() const { return by_columns ? weight.rows : weight.columns; }
  int64_t height() const { return by_columns ? weight.columns : weight.rows; }
  const float* input(int64_t pair) const { return x + pair / indices_per_row * width(); }
  float* output(int64_t pair) const { return y + pair * height(); }
};

/// The pairs of one expert.
struct Group {
  int64_t expert;
  std::vector<int64_t> pairs;
};

bool names_one(int32_t index, int64_t experts) { return index >= 0 && index < experts; }

/// Groups of all experts that have pairs; the largest first, so that none is left at the end.
std::vector<Group> groups_of(const int32_t* indices, int64_t count, int64_t experts) {
  std::vector<Group> groups(static_cast<size_t>(experts));
  for (int64_t pair = 0; pair < count; pair++) {
    if (names_one(indices[pair], experts)) groups[size_t(indices[pair])].pairs.push_back(pair);
  }
  for (int64_t i = 0; i < experts; i++) groups[size_t(i)].expert = i;
  std::erase_if(groups, [](const Group& group) { return group.pairs.empty(); });
  std::stable_sort(groups.begin(), groups.end(), [](const Group& a, const Group& b) {
    return a.pairs.size() > b.pairs.size();
  });
  return groups;
}

void multiply_large(const Pairs& all, const Group& group) {
  const Weight weight = matrix_after(all.weight, group.expert);
  const int64_t count = int64_t(group.pairs.size());
  const size_t width = size_t(all.width()), height = size_t(all.height());
  const std::unique_ptr<float[]> x(new float[size_t(count) * width]);
  const std::unique_ptr<float[]> y(new float[size_t(count) * height]);
  for (int64_t i = 0; i < count; i++) {
    std::memcpy(
        x.get() + size_t(i) * width, all.input(group.pairs[size_t(i)]), width * sizeof(float));
  }
  if (all.by_columns) {
    product_by_columns(weight, x.get(), count, y.get());
  } else {
    product(weight, x.get(), count, y.get(), weight.rows);
  }
  for (int64_t i = 0; i < count; i++) {
    std::memcpy(
        all.output(group.pairs[size_t(i)]), y.get() + size_t(i) * height, height * sizeof(float));
  }
}

void multiply_large(const Pairs& all, const std::vector<Group>& groups) {
  const int64_t count = int64_t(groups.size());
  if (count >= 2 * ThreadPool::shared().size()) {
    parallel(count, [&](int64_t i) { multiply_large(all, groups[size_t(i)]); });
  } else {
    for (const auto& group : groups) multiply_large(all, group);
  }
}

void multiply_small(const Pairs& all, const std::vector<Group>& groups) {
  // Pairs that share a row of input are neighbors, so that each row is laid out once.
  std::vector<int64_t> pairs;
  for (const auto& group : groups) pairs.insert(pairs.end(), group.pairs.begin(), group.pairs.end());
  std::sort(pairs.begin(), pairs.end());
  std::vector<const float*> inputs;
  std::vector<int64_t> input_of(pairs.size());
  for (size_t i = 0; i < pairs.size(); i++) {
    const float* input = all.input(pairs[i]);
    if (inputs.empty() || inputs.back() != input) inputs.push_back(input);
    input_of[i] = int64_t(inputs.size()) - 1;
  }
  const PreparedRows rows(all.weight, inputs);
  std::vector<Product> products;
  for (const auto& group : groups) {
    Product one{matrix_after(all.weight, group.expert), {}, {}};
    for (int64_t pair : group.pairs) {
      const auto at = std::lower_bound(pairs.begin(), pairs.end(), pair) - pairs.begin();
      one.x.rows.push_back(rows.rows()[size_t(input_of[size_t(at)])]);
      one.y.push_back(all.output(pair));
    }
    products.push_back(std::move(one));
  }
  multiply(products);
}

void multiply_pairs(const Pairs& all, const int32_t* indices, int64_t count, int64_t experts) {
  for (int64_t pair = 0; pair < count; pair++) {
    if (names_one(indices[pair], experts)) continue;
    float* out = all.output(pair);
    std::fill(out, out + all.height(), std::numeric_limits<float>::quiet_NaN());
  }
  auto groups = groups_of(indices, count, experts);
  const auto first_small = std::find_if(groups.begin(), groups.end(), [&](const Group& group) {
    return !all.by_columns && int64_t(group.pairs.size()) < many_rows_from();
  });
  const std::vector<Group> small(first_small, groups.end());
  groups.erase(first_small, groups.end());
  multiply_large(all, groups);
  multiply_small(all, small);
}

class ExpertLinear : public RowPrimitive {
 public:
  ExpertLinear(mx::Stream stream, Quantization quantization)
      : RowPrimitive(stream), quantization_(std::move(quantization)) {}

  Work prepare(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    auto& out = outputs[0];
    allocate(out);
    size_t index = 2;
    const Weight weight = take_weight(inputs, index, quantization_);
    const int64_t experts = inputs[2].shape(0), count = int64_t(inputs[1].size());
    const int64_t rows = int64_t(inputs[0].size()) / weight.columns;
    // Indices from 2^31 on name no matrix in either type.
    const auto* indices = reinterpret_cast<const int32_t*>(inputs[1].data<uint32_t>());
    const Pairs all{
        inputs[0].data<float>(), rows ? count / rows : 1, out.data<float>(), weight};
    return [=] { multiply_pairs(all, indices, count, experts); };
  }
  const char* name() const override { return "G4ExpertLinear"; }

  std::vector<mx::array> vjp(
      const std::vector<mx::array>& primals, const std::vector<mx::array>& cotangents,
      const std::vector<int>& argnums, const std::vector<mx::array>&) override;

 private:
  Quantization quantization_;
};

/// A row [..., N] for each index, times the matrix of its expert as it is: [..., K].
class ExpertLinearByColumns : public RowPrimitive {
 public:
  ExpertLinearByColumns(mx::Stream stream, Quantization quantization)
      : RowPrimitive(stream), quantization_(std::move(quantization)) {}

  Work prepare(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    auto& out = outputs[0];
    allocate(out);
    size_t index = 2;
    const Weight weight = take_weight(inputs, index, quantization_);
    const int64_t experts = inputs[2].shape(0), count = int64_t(inputs[1].size());
    const auto* indices = reinterpret_cast<const int32_t*>(inputs[1].data<uint32_t>());
    const Pairs all{inputs[0].data<float>(), 1, out.data<float>(), weight, true};
    return [=] { multiply_pairs(all, indices, count, experts); };
  }
  const char* name() const override { return "G4ExpertLinearByColumns"; }

 private:
  Quantization quantization_;
};

std::vector<mx::array> ExpertLinear::vjp(
    const std::vector<mx::array>& primals, const std::vector<mx::array>& cotangents,
    const std::vector<int>& argnums, const std::vector<mx::array>&) {
  if (argnums != std::vector<int>{0}) no_gradient(name(), argnums.back());
  std::vector<mx::array> inputs = primals;
  inputs[0] = in_rows(cotangents[0], stream());
  mx::Shape shape = cotangents[0].shape();
  shape.back() = primals[0].shape(-1);
  const mx::array by_pair(
      shape, mx::float32, std::make_shared<ExpertLinearByColumns>(stream(), quantization_),
      std::move(inputs));
  const bool shares_rows = by_pair.ndim() > primals[0].ndim();
  return {shares_rows ? mx::sum(by_pair, -2, false, stream()) : by_pair};
}

bool starts_with(const mx::Shape& shape, const mx::Shape& start) {
  return shape.size() >= start.size() && std::equal(start.begin(), start.end(), shape.begin());
}

}  // namespace

mx::array expert_linear(
    const mx::array& x, const mx::array& indices, const Matrix& experts,
    mx::StreamOrDevice device) {
  const auto stream = mx::to_stream(device, mx::Device::cpu);
  require_float32(x, "expert_linear");
  experts.check("expert_linear", 3);
  if (indices.dtype() != mx::int32 && indices.dtype() != mx::uint32) {
    throw std::invalid_argument("expert_linear: indices must be int32 or uint32");
  }
  if (x.shape(-1) != experts.columns()) {
    throw std::invalid_argument("expert_linear: widths differ");
  }
  const mx::Shape rows(x.shape().begin(), x.shape().end() - 1);
  const bool row_per_index = rows == indices.shape();
  const bool row_for_several =
      indices.ndim() == rows.size() + 1 && starts_with(indices.shape(), rows);
  if (!row_per_index && !row_for_several) {
    throw std::invalid_argument("expert_linear: the shape of indices does not fit that of x");
  }
  std::vector<mx::array> inputs{in_rows(x, stream), in_rows(indices, stream)};
  experts.append_to(inputs, stream);
  mx::Shape shape = indices.shape();
  shape.push_back(experts.weight.shape(1));
  return mx::array(
      std::move(shape), mx::float32, std::make_shared<ExpertLinear>(stream, experts.quantization),
      std::move(inputs));
}

}  // namespace g4
