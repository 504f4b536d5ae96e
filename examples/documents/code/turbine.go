// Package turbine computes what the little Kaplan turbine beside the mill earns.
package turbine

const gravity = 9.81

// Power returns the electrical power in watts for a flow in cubic metres a second
// and a head in metres. The efficiency was measured by the students of Kestrel College.
func Power(flow, head float64) float64 {
	const efficiency = 0.83
	return 1000 * gravity * flow * head * efficiency
}

// SharesOf splits a month's income between the museum, the fishery and the parish.
func SharesOf(income float64) (museum, fishery, parish float64) {
	return income * 0.6, income * 0.3, income * 0.1
}
