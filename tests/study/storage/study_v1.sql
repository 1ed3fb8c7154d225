BEGIN TRANSACTION;
CREATE TABLE event (
	id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	time FLOAT NOT NULL, 
	kind VARCHAR(40) NOT NULL, 
	payload TEXT NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(study_id) REFERENCES study (id)
);
INSERT INTO "event" VALUES(1,1,1.79527665059069395066e+09,'cost','{"tokens": 5}');
CREATE TABLE mixopt_schema (
	version INTEGER NOT NULL, 
	PRIMARY KEY (version)
);
INSERT INTO "mixopt_schema" VALUES(1);
CREATE TABLE observation (
	study_id INTEGER NOT NULL, 
	trial VARCHAR(100) NOT NULL, 
	tokens BIGINT NOT NULL, 
	metric VARCHAR(200) NOT NULL, 
	split VARCHAR(20) NOT NULL, 
	value FLOAT NOT NULL, 
	PRIMARY KEY (study_id, trial, tokens, metric, split), 
	FOREIGN KEY(study_id, trial) REFERENCES trial (study_id, id)
);
INSERT INTO "observation" VALUES(1,'r00-t00',500000000,'loss','validation',3.1);
INSERT INTO "observation" VALUES(1,'r00-t00',1000000000,'loss','validation',2.1);
INSERT INTO "observation" VALUES(1,'r00-t01',500000000,'loss','validation',3.24285714285714288251e+00);
INSERT INTO "observation" VALUES(1,'r00-t01',1000000000,'loss','validation',2.24285714285714288251e+00);
INSERT INTO "observation" VALUES(1,'r00-t02',500000000,'loss','validation',3.38571428571428567622e+00);
INSERT INTO "observation" VALUES(1,'c01-recommendation-s0',1000000000,'loss','confirmation',2.05);
INSERT INTO "observation" VALUES(1,'r00-t04',500000000,'loss','validation',3.5);
INSERT INTO "observation" VALUES(1,'a0000',1000000000,'loss','validation',2.9);
CREATE TABLE study (
	id INTEGER NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	config TEXT NOT NULL, 
	config_hash VARCHAR(64) NOT NULL, 
	settings TEXT NOT NULL, 
	created FLOAT NOT NULL, 
	owner VARCHAR(64), 
	owner_host VARCHAR(255), 
	owner_pid INTEGER, 
	owner_born FLOAT, 
	PRIMARY KEY (id), 
	UNIQUE (name)
);
INSERT INTO "study" VALUES(1,'old','{"context": {}, "fidelity": {"parameters": 1000000, "tokens": 1000000000}, "initial": 5, "objective": {"guardrails": [], "weights": {"loss": 1.0}}, "seed": 0, "space": {"baseline": "uniform", "domains": [{"max_epochs": null, "name": "web", "path": null, "source": null, "tokens": null}, {"max_epochs": null, "name": "code", "path": null, "source": null, "tokens": null}, {"max_epochs": null, "name": "books", "path": null, "source": null, "tokens": null}], "learning_rate": null, "max_epochs": null, "name": "space", "phases": [{"bounds": {}, "domains": null, "fixed": null, "fraction": null, "groups": [], "learning_rate": null, "name": "base", "tied": null}], "source": null, "target": null}}','4a41a2a3a00857fb1a13112ef27f95caa57698b7ce5c0436b18e17041d6d070c','{"budget":{"trials":6,"tokens":null,"flops":null,"rounds":null},"batch":2,"confirm_seeds":1,"retries":1,"patience":1,"replicates":0}',1795276644.63547,'ddd91bc8f57a40258a53eb021d20887b','old-host',7758,86209.0);
CREATE TABLE trial (
	study_id INTEGER NOT NULL, 
	id VARCHAR(100) NOT NULL, 
	position INTEGER NOT NULL, 
	round INTEGER NOT NULL, 
	kind VARCHAR(20) NOT NULL, 
	spec TEXT NOT NULL, 
	state VARCHAR(20) NOT NULL, 
	reason TEXT NOT NULL, 
	attempts INTEGER NOT NULL, 
	crashes INTEGER NOT NULL, 
	owner VARCHAR(64), 
	started FLOAT, 
	ended FLOAT, 
	PRIMARY KEY (study_id, id), 
	FOREIGN KEY(study_id) REFERENCES study (id)
);
INSERT INTO "trial" VALUES(1,'r00-t00',0,0,'initial','{"id":"r00-t00","round":0,"kind":"initial","schedule":{"phases":[{"name":"base","fraction":1.0,"mixture":{"web":0.3333333333333333,"code":0.3333333333333333,"books":0.3333333333333333},"learning_rate":null}],"learning_rate":null},"fidelity":{"parameters":1000000,"tokens":1000000000},"seed":813121284,"label":"","split":"validation"}','finished','',1,0,'ddd91bc8f57a40258a53eb021d20887b',1.79527664755271625521e+09,1.79527664756146979334e+09);
INSERT INTO "trial" VALUES(1,'r00-t01',1,0,'initial','{"id":"r00-t01","round":0,"kind":"initial","schedule":{"phases":[{"name":"base","fraction":1.0,"mixture":{"web":0.0001362697,"code":0.0008182839,"books":0.9990454464},"learning_rate":null}],"learning_rate":null},"fidelity":{"parameters":1000000,"tokens":1000000000},"seed":752176259,"label":"","split":"validation"}','finished','',1,0,'ddd91bc8f57a40258a53eb021d20887b',1.79527664756344318384e+09,1.79527664756859493258e+09);
INSERT INTO "trial" VALUES(1,'r00-t02',2,0,'initial','{"id":"r00-t02","round":0,"kind":"initial","schedule":{"phases":[{"name":"base","fraction":1.0,"mixture":{"web":0.0009825581,"code":0.9981780588,"books":0.0008393831},"learning_rate":null}],"learning_rate":null},"fidelity":{"parameters":1000000,"tokens":1000000000},"seed":815901040,"label":"","split":"validation"}','finished','',1,0,'ddd91bc8f57a40258a53eb021d20887b',1.79527664757012367247e+09,1.79527664757481718064e+09);
INSERT INTO "trial" VALUES(1,'r00-t03',3,0,'initial','{"id":"r00-t03","round":0,"kind":"initial","schedule":{"phases":[{"name":"base","fraction":1.0,"mixture":{"web":0.9872833719,"code":0.0115726599,"books":0.0011439682},"learning_rate":null}],"learning_rate":null},"fidelity":{"parameters":1000000,"tokens":1000000000},"seed":2072473528,"label":"","split":"validation"}','failed','the shard of web is missing',1,0,'ddd91bc8f57a40258a53eb021d20887b',1.79527665056222581864e+09,1.79527665056523799899e+09);
INSERT INTO "trial" VALUES(1,'r00-t04',4,0,'initial','{"id":"r00-t04","round":0,"kind":"initial","schedule":{"phases":[{"name":"base","fraction":1.0,"mixture":{"web":0.406227491,"code":0.593772509,"books":0.0},"learning_rate":null}],"learning_rate":null},"fidelity":{"parameters":1000000,"tokens":1000000000},"seed":2051468720,"label":"","split":"validation"}','running','',1,0,'ddd91bc8f57a40258a53eb021d20887b',1.7952766505730953216e+09,NULL);
INSERT INTO "trial" VALUES(1,'c01-recommendation-s0',5,1,'confirmation','{"id":"c01-recommendation-s0","round":1,"kind":"confirmation","schedule":{"phases":[{"name":"base","fraction":1.0,"mixture":{"web":0.3454030277,"code":0.3020402084,"books":0.3525567639},"learning_rate":null}],"learning_rate":null},"fidelity":{"parameters":1000000,"tokens":1000000000},"seed":466224354,"label":"recommendation","split":"confirmation"}','finished','',1,0,'ddd91bc8f57a40258a53eb021d20887b',1.7952766505463161468e+09,1.79527665055691480634e+09);
INSERT INTO "trial" VALUES(1,'c01-baseline-s0',6,1,'confirmation','{"id":"c01-baseline-s0","round":1,"kind":"confirmation","schedule":{"phases":[{"name":"base","fraction":1.0,"mixture":{"web":0.3333333333333333,"code":0.3333333333333333,"books":0.3333333333333333},"learning_rate":null}],"learning_rate":null},"fidelity":{"parameters":1000000,"tokens":1000000000},"seed":466224354,"label":"baseline","split":"confirmation"}','waiting','',0,0,NULL,NULL,NULL);
INSERT INTO "trial" VALUES(1,'a0000',7,0,'attached','{"id":"a0000","round":0,"kind":"attached","schedule":{"phases":[{"name":"base","fraction":1.0,"mixture":{"web":1.0},"learning_rate":null}],"learning_rate":null},"fidelity":{"parameters":1000000,"tokens":1000000000},"seed":0,"label":"","split":"validation"}','finished','',0,0,NULL,NULL,NULL);
CREATE UNIQUE INDEX trial_position ON trial (study_id, position);
CREATE INDEX event_kind ON event (study_id, kind);
COMMIT;
