// The pause image's one program: the standard library alone, so there is no go.sum.
module lab.local/pause

go 1.26.0
