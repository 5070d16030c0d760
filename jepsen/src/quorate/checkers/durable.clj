(ns quorate.checkers.durable
  "Invariant 7: what was acknowledged survives kill -9 of any minority and the power loss of all.

  Every acknowledged switch is in the list at the end, to the region that was asked for; every acknowledged change of members
  is in the membership at the end; nothing less is left than was shown at any time."
  (:require [quorate.history :as h]))

(defn- switches [history]
  (for [[service _] (h/services history)
        :let [at-end (h/switches history service)]
        {{:keys [epoch to]} :value} (filter #(= service (get-in % [:value :service])) (h/oks history :switch))
        :let [kept (get at-end epoch)]
        :when (not= to (:to kept))]
    (str service ": the acknowledged switch of epoch " epoch " to " to
         (if kept (str " goes to " (:to kept)) " is gone"))))

(defn- shrunk [history]
  (for [[service _] (h/services history)
        :let [at-end (count (h/switches history service))
              most (reduce max 0 (map #(count (get-in % [:value :switches]))
                                      (filter #(= service (get-in % [:value :service])) (h/oks history :switches))))]
        :when (< at-end most)]
    (str service ": " most " switches were told, " at-end " are left")))

(defn- members
  "Changes of one node that nobody contested: the last acknowledged one, unless one with an unknown fate came after it."
  [history]
  (let [voters (some-> (last (h/oks history :members)) :value :voters set)
        changes (filter #(= :member (:f %)) (h/pairs history))]
    (when voters
      (for [[node ops] (group-by #(get-in % [:value :node]) changes)
            :let [decisive (remove #(= :fail (:type (:completed %))) ops)
                  final (last decisive)
                  change (get-in final [:value :change])]
            :when (and final (= :ok (:type (:completed final))))
            :let [there (contains? voters node)]
            :when (or (and (= :promote change) (not there)) (and (= :remove change) there))]
        (str "node " node ": the acknowledged " (name change) " is gone, the voters are " (sort voters))))))

(defn check [history]
  (h/verdict 7 (concat (switches history) (shrunk history) (members history))))
