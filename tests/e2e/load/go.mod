module lab.local/load

go 1.26.0
